"""One option sets the image size of every pipeline."""

from pathlib import Path

import mmpretrain
import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS

from mmconvnext.apis import evaluate, load_config, train
from mmconvnext.config.image_size import final_size, pipelines_of, set_image_size, sizes_of, steps_of
from mmconvnext.errors import UserError
from mmconvnext.registry import default_scope
from tests.conftest import REPO

DIGITS = REPO / 'configs/digits/convnext-atto_1xb48_digits.py'


@pytest.mark.parametrize(('size', 'resized'), [(128, 146), (224, 256), (384, 438), (1, 1)])
def test_resizing_keeps_its_ratio_to_the_crop(size, resized):
    cfg = load_config('convnext-tiny_ft_folder')
    set_image_size(cfg, size)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        _, edge, crop, _ = loader.dataset.pipeline
        assert (edge.scale, crop.crop_size) == (resized, size)
    load, crop = cfg.train_dataloader.dataset.pipeline[:2]
    assert (load.scale, crop.scale) == (size, size)


@pytest.mark.parametrize('name', ['convnext-tiny_32xb128_in1k-384px', 'convnext-v2-huge_32xb32_in1k-512px'])
def test_resizing_without_a_crop_has_the_size_itself(name):
    cfg = load_config(name)
    set_image_size(cfg, 96)
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (96, 96)


def test_pipelines_inside_of_wrappers_and_of_test_time_augmentation_are_set_too():
    cfg = load_config(DIGITS)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=inner), inner.copy()]
    )
    cfg.tta_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(
            type='TestTimeAug', transforms=[[dict(type='Resize', scale=(64, 64))], [dict(type='PackInputs')]]
        ),
    ]
    set_image_size(cfg, 48)
    places = dict(pipelines_of(cfg))
    assert 'train_dataloader.dataset.datasets.0.dataset.pipeline' in places
    sizes = {
        value
        for pipeline in places.values()
        for step in steps_of(pipeline)
        for key, value in step.items()
        if key in ('scale', 'crop_size')
    }
    assert sizes <= {48, (48, 48)}


def test_backbone_with_an_image_size_of_its_own_gets_it(tmp_path):
    file = tmp_path / 'vit.py'
    # By path: for mmpretrain::, mmengine 0.10.7 needs a module that setuptools has removed.
    configs = Path(mmpretrain.__file__).parent / '.mim/configs'
    file.write_text(f"_base_ = '{configs}/vision_transformer/vit-base-p16_32xb128-mae_in1k.py'\n")
    cfg = load_config(file)
    set_image_size(cfg, 160)
    assert cfg.model.backbone.img_size == 160


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (dict(type='RandomResize', scale=(32, 64)), 'RandomResize, and what its scale means is unknown'),
        (dict(type='Mine', output_size=3), 'Mine, and what its output_size means'),
        (dict(type='Albu', transforms=[dict(type='Resize', height=9, width=9)]), 'Albu, and what its Resize'),
        (dict(type='Resize', scale=(64, 32)), r'scale of Resize .* is \(64, 32\)'),
    ],
)
def test_step_of_unknown_size_is_named(step, message):
    cfg = load_config(DIGITS)
    cfg.train_dataloader.dataset.pipeline.insert(0, step)
    with pytest.raises(UserError, match=message):
        set_image_size(cfg, 64)


@pytest.mark.parametrize('size', [0, -1, 1.5, True, 10**6])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(UserError, match='expected a whole number of pixels'):
        set_image_size(load_config(DIGITS), size)


def albu(**transform):
    return dict(type='Albu', transforms=[transform])


@pytest.mark.parametrize(
    ('steps', 'size'),
    [
        ([dict(type='ResizeEdge', scale=256), dict(type='CenterCrop', crop_size=224)], '224 x 224 pixels'),
        ([dict(type='RandomResizedCrop', scale=160), dict(type='RandomErasing')], '160 x 160 pixels'),
        ([dict(type='Resize', scale=(64, 32)), dict(type='RandomFlip')], '64 x 32 pixels'),
        ([dict(type='Resize', scale=(64, 32), keep_ratio=True)], 'at most 64 x 32 pixels'),
        ([dict(type='ResizeEdge', scale=256, edge='long')], '256 pixels along the long edge'),
        ([dict(type='Resize', scale=32), dict(type='GaussianBlur', kernel_size=3)], '32 x 32 pixels'),
        ([dict(type='Resize', scale=32), dict(type='Pad', size_divisor=32)], None),
        ([dict(type='Resize', scale_factor=2.0)], None),
        ([dict(type='Resize', scale=(32.5, 32))], None),
        ([dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.5, 0.5))], None),
        ([dict(type='RandomCrop', crop_type='absolute_range', crop_size=(32, 64))], None),
        ([dict(type='Resize', scale=48), albu(type='RandomResizedCrop', scale=(0.08, 1.0))], None),
        ([albu(type='OneOf', transforms=[dict(type='LongestMaxSize', max_size=64)])], None),
        ([dict(type='Resize', scale=48), albu(type='ShiftScaleRotate', scale_limit=0.1)], '48 x 48 pixels'),
        ([dict(type='PackInputs')], None),
        (
            [
                dict(
                    type='TestTimeAug',
                    transforms=[[dict(type='Resize', scale=48)], [dict(type='PackInputs')]],
                )
            ],
            '48 x 48 pixels',
        ),
    ],
)
def test_the_size_that_images_end_with_is_known(steps, size):
    assert final_size([dict(type='LoadImageFromFile'), *steps]) == size


@pytest.mark.parametrize(
    'step',
    [
        dict(type='Resize', scale=(24, 16)),
        dict(type='CenterCrop', crop_size=(24, 16)),
        dict(type='mmconvnext.FloorCenterCrop', crop_size=(24, 16)),
        dict(type='RandomCrop', crop_size=(16, 24)),
        dict(type='RandomResizedCrop', scale=(16, 24)),
    ],
    ids=lambda step: step['type'],
)
def test_the_size_is_that_of_the_transform_width_first(step):
    with default_scope('mmpretrain'):
        image = TRANSFORMS.build(step)(dict(img=np.zeros((40, 50, 3), np.uint8)))['img']
    assert image.shape == (16, 24, 3)
    assert final_size([step]) == '24 x 16 pixels'


def test_sizes_of_joined_datasets_are_all_named():
    parts = [dict(pipeline=[dict(type='Resize', scale=scale)]) for scale in (32, 64, 32)]
    assert sizes_of(dict(dataset=dict(datasets=parts))) == ['32 x 32 pixels', '64 x 64 pixels']
    parts.append(dict(pipeline=[dict(type='PackInputs')]))
    assert sizes_of(dict(datasets=parts)) == []


def test_training_and_testing_see_images_of_the_size(tiny_config, tmp_path):
    options = {
        f'{field}_dataloader.dataset.pipeline': [
            dict(type='Resize', scale=32),
            dict(type='CenterCrop', crop_size=32),
            dict(type='PackInputs'),
        ]
        for field in ('train', 'val', 'test')
    } | {'train_cfg.max_epochs': 1}
    work_dir = tmp_path / 'work'
    train(tiny_config, work_dir=str(work_dir), image_size=64, cfg_options=options)
    saved = next(work_dir.glob('*.py'))
    with default_scope('mmpretrain'):
        image = DATASETS.build(load_config(saved).train_dataloader.dataset)[0]['inputs']
    assert tuple(image.shape[1:]) == (64, 64)
    metrics = evaluate(
        tiny_config,
        work_dir / 'epoch_1.pth',
        work_dir=str(tmp_path / 'test'),
        image_size=64,
        cfg_options=options,
    )
    assert 'accuracy/top1' in metrics
