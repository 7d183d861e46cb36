from copy import deepcopy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from mmconvnext.apis import load_config, train
from mmconvnext.config.data_root import use_data_root
from mmconvnext.errors import UserError
from mmconvnext.training.smoke import make_smoke_test
from mmconvnext.zoo import get_model

NAME = 'convnext-tiny_32xb128_in1k'
# Invalid values for options that are not integers.
VALUES = {
    'model.backbone.drop_path_rate': 0.2,
    'default_hooks.early_stopping': dict(type='EarlyStoppingHook'),
    'model_wrapper_cfg': dict(type='MMDistributedDataParallel'),
    'work_dir': 'work_dirs/x',
}


@pytest.mark.parametrize('name', [NAME, f'{NAME}.py', f'configs/convnext/{NAME}.py'])
def test_packaged_config_is_found_by_path_and_by_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(name).model.backbone.arch == 'tiny'


def test_wrong_path_is_not_taken_for_a_packaged_config_of_that_name():
    with pytest.raises(UserError, match=f'mine/{NAME}.py does not exist'):
        load_config(f'mine/{NAME}.py')


def test_unknown_config_names_the_nearest():
    with pytest.raises(UserError, match=f'did you mean .*{NAME}'):
        load_config('configs/convnext/convnext-tiny_32xb128_in1.py')


def test_name_of_a_recipe_and_of_a_checkpoint_is_proposed_once():
    with pytest.raises(UserError, match=f'did you mean {NAME} or {NAME}-384px or '):
        load_config('convnext-tiny_32xb128')


@pytest.mark.parametrize(
    'option',
    [
        'model.backbone.drop_path_rate',
        'model.backbone.with_cp',  # not in the config, but an argument of the backbone
        'model.head.topk',  # an argument of mmpretrain's head, which ours inherits
        'optim_wrapper.accumulative_counts',
        'train_dataloader.dataset.pipeline.1.scale',
        'default_hooks.checkpoint.save_optimizer',
        'custom_hooks.0.momentum',
        'optim_wrapper.paramwise_cfg.custom_keys',
        'env_cfg.dist_cfg.timeout',
        'default_hooks.early_stopping',
        'model_wrapper_cfg',
        'train_cfg.val_begin',
        'find_unused_parameters',
        'randomness.deterministic',
        'auto_scale_lr.enable',
        'env_cfg.mp_cfg.mp_start_method',
        'train_dataloader.prefetch_factor',
        'work_dir',
    ],
)
def test_options_that_exist_are_taken(option):
    value = VALUES.get(option, 1)
    assert option.split('.')[0] in load_config(NAME, {option: value})


def test_options_of_the_caller_stay_as_they_are():
    options = {'model.backbone.arch': dict(_delete_=True, depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))}
    before = deepcopy(options)
    for _ in range(2):
        cfg = load_config('convnext-v2-atto_32xb32_in1k', options)
        assert list(cfg.model.backbone.arch) == ['depths', 'channels']
    assert options == before


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('model.backbone.drop_path', 'model.backbone has no .*drop_path_rate'),
        ('model.bakbone.arch', "model has no 'bakbone'; did you mean backbone"),
        ('mode.backbone.arch', "the config has no 'mode'; did you mean model"),
        ('optim_wrapper.optimiser.lr', 'did you mean optimizer'),
        ('train_dataloader.batchsize', 'did you mean batch_size'),
        ('custom_hooks.5.momentum', 'is a list of 1'),
        ('train_dataloader.batch_size.x', 'has nothing inside'),
        ('default_hooks.checkpoint.intervall', 'did you mean interval'),
    ],
)
def test_misspelt_option_names_the_nearest_key(option, message):
    with pytest.raises(UserError, match=message):
        load_config(NAME, {option: 1})


@pytest.mark.parametrize(
    ('name', 'checkpoint', 'library', 'extra'),
    [
        (
            'mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco',
            'mask_rcnn_convnext_tiny_1k_3x',
            'MMDetection',
            'detection',
        ),
        (
            'upernet_convnext-tiny_8xb2-amp-160k_ade20k-512px',
            'upernet_convnext_tiny_1k_512x512',
            'MMSegmentation',
            'segmentation',
        ),
    ],
)
def test_config_of_a_library_that_is_missing_says_what_to_install(name, checkpoint, library, extra):
    message = rf'is built on {library}, which is not .*mmconvnext\[{extra}\]'
    for asked in (name, checkpoint):
        with pytest.raises(UserError, match=message):
            load_config(asked)
    for asked in (checkpoint, f'mmconvnext://{checkpoint}'):
        with pytest.raises(UserError, match=message):  # before the download, which fails without a network
            get_model(asked, pretrained=True)


def test_data_root_moves_the_annotations_that_metrics_read():
    dataset = dict(type='CocoDataset', data_root='data/coco/')
    cfg = Config(
        dict(
            val_dataloader=dict(dataset=dataset),
            val_evaluator=[
                dict(type='CocoMetric', ann_file='data/coco/annotations/val.json'),
                dict(type='Other'),
            ],
        )
    )
    use_data_root(cfg, '/mine')
    assert cfg.val_dataloader.dataset.data_root == '/mine'
    assert cfg.val_evaluator[0].ann_file == '/mine/annotations/val.json'
    assert 'ann_file' not in cfg.val_evaluator[1]


def test_smoke_test_of_a_detector_is_refused():
    with pytest.raises(UserError, match='--smoke makes noise for classifiers.* MaskRCNN is neither'):
        make_smoke_test(Config(dict(model=dict(type='MaskRCNN'))))


@pytest.mark.skipif(torch.cuda.is_available(), reason='tests the message for machines without a GPU')
def test_mixed_precision_of_a_config_is_left_out_without_a_gpu(tiny_config, tmp_path):
    options = {
        'optim_wrapper.type': 'AmpOptimWrapper',
        'optim_wrapper.loss_scale': 'dynamic',
        'train_cfg.max_epochs': 1,
    }
    runner = train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options, no_validate=True)
    assert type(runner.optim_wrapper) is OptimWrapper
