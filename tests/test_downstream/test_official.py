"""The official experiments: their networks, recipes and checkpoints."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from mmconvnext.apis import load_config
from mmconvnext.zoo import get_entry
from mmconvnext.zoo.entries import DENSE_TASKS, zoo
from mmconvnext.zoo.names import load_weights
from tests.conftest import REPO

# Official READMEs and configs of facebookresearch/ConvNeXt, object_detection and semantic_segmentation:
# config, parameters in millions, lr, layer decay, its scheme, layers, drop path, mixed precision.
DETECTION = [
    ('mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco', 48, 1e-4, 0.95, 6, 0.4, True),
    ('cascade-mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco', 86, 2e-4, 0.7, 6, 0.4, True),
    ('cascade-mask-rcnn_convnext-small_fpn_8xb2-amp-ms-3x_coco', 108, 2e-4, 0.7, 12, 0.6, True),
    ('cascade-mask-rcnn_convnext-base_fpn_8xb2-amp-ms-3x_coco', 146, 2e-4, 0.8, 12, 0.7, True),
    ('cascade-mask-rcnn_convnext-base-in21k-pre_fpn_8xb2-amp-ms-3x_coco', 146, 1e-4, 0.8, 12, 0.6, True),
    ('cascade-mask-rcnn_convnext-large-in21k-pre_fpn_8xb2-ms-3x_coco', 255, 1e-4, 0.7, 12, 0.7, False),
    ('cascade-mask-rcnn_convnext-xlarge-in21k-pre_fpn_8xb2-ms-3x_coco', 407, 1e-4, 0.7, 12, 0.8, False),
]
SEGMENTATION = [
    ('upernet_convnext-tiny_8xb2-amp-160k_ade20k-512px', 60, 1e-4, 0.9, 6, 0.4, True),
    ('upernet_convnext-small_8xb2-amp-160k_ade20k-512px', 82, 1e-4, 0.9, 12, 0.3, True),
    ('upernet_convnext-base_8xb2-amp-160k_ade20k-512px', 122, 1e-4, 0.9, 12, 0.4, True),
    ('upernet_convnext-base-in21k-pre_8xb2-amp-160k_ade20k-640px', 122, 1e-4, 0.9, 12, 0.4, True),
    ('upernet_convnext-large-in21k-pre_8xb2-160k_ade20k-640px', 235, 1e-4, 0.9, 12, 0.4, False),
    ('upernet_convnext-xlarge-in21k-pre_8xb2-160k_ade20k-640px', 391, 8e-5, 0.9, 12, 0.4, False),
]
OFFICIAL = [*(('detection', *row) for row in DETECTION), *(('segmentation', *row) for row in SEGMENTATION)]
NAMES = [row[1] for row in OFFICIAL]
# Weights that training starts from (not their average), by name of the config.
START = {name: '22k_224' if 'in21k-pre' in name else '1k_224' for name in NAMES}


def on_meta(cfg: Config):
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def layer_wise(name, layers):
    """Official mmcv_custom/layer_decay_optimizer_constructor.py, get_num_layer_layer_wise."""
    parts = name.split('.')
    if parts[0] == 'backbone' and parts[1] == 'downsample_layers':
        return [0, 2, 3, layers][int(parts[2])]
    if parts[0] == 'backbone' and parts[1] == 'stages':
        stage, block = int(parts[2]), int(parts[3])
        return [1, 2, 3 + block // 3, layers][stage]
    return layers + 1


def stage_wise(name, layers):
    """The same file, get_num_layer_stage_wise."""
    parts = name.split('.')
    if parts[0] == 'backbone' and parts[1] == 'downsample_layers':
        return 0
    return int(parts[2]) + 1 if parts[0] == 'backbone' and parts[1] == 'stages' else layers + 1


@pytest.mark.parametrize('row', OFFICIAL, ids=NAMES)
def test_configs_are_the_published_experiments(row):
    task, name, millions, lr, decay, layers, drop_path, mixed = row
    cfg = load_config(REPO / f'configs/{task}/{name}.py')
    model = on_meta(cfg)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.model.backbone.layer_scale_init_value == 1.0
    assert (
        cfg.model.backbone.init_cfg.checkpoint
        == f'mmconvnext://convnext_{cfg.model.backbone.arch}.{START[name]}'
    )
    assert cfg.optim_wrapper.type == ('AmpOptimWrapper' if mixed else 'OptimWrapper')
    assert cfg.optim_wrapper.get('clip_grad') is None
    assert cfg.train_dataloader.batch_size == 2
    assert [f'norm{i}' in dict(model.backbone.named_children()) for i in range(4)] == [True] * 4

    cfg.optim_wrapper.type = 'OptimWrapper'  # mmengine supports the other on GPUs only
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    found = {id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    depth = layer_wise if task == 'detection' else stage_wise
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            steps = layers + 1 - depth(parameter_name, layers)
            expected = lr * decay**steps, 0.05 if parameter.ndim > 1 else 0.0
            assert found[id(parameter)] == pytest.approx(expected), parameter_name


def test_length_and_rates_of_the_schedules():
    detection = load_config(REPO / f'configs/detection/{DETECTION[0][0]}.py')
    assert detection.train_cfg.max_epochs == 36
    assert detection.param_scheduler[1].milestones == [27, 33]
    segmentation = load_config(REPO / f'configs/segmentation/{SEGMENTATION[0][0]}.py')
    assert segmentation.train_cfg.max_iters == 160_000
    warmup, poly = segmentation.param_scheduler
    assert (warmup.start_factor, warmup.end, poly.power, poly.eta_min) == (1e-6, 1500, 1.0, 0.0)
    slide = segmentation.model.test_cfg
    assert (slide.mode, slide.crop_size, slide.stride) == ('slide', (512, 512), (341, 341))
    larger = load_config(REPO / f'configs/segmentation/{SEGMENTATION[-1][0]}.py')
    assert (larger.model.test_cfg.crop_size, larger.model.test_cfg.stride) == ((640, 640), (426, 426))
    crops = [step for step in larger.train_dataloader.dataset.pipeline if step.type == 'RandomCrop']
    assert crops[0].crop_size == larger.model.data_preprocessor.size == (640, 640)


def in_official_names(name):
    """Rename the backbone's parameters to those of the official files; necks and heads keep their names."""
    for ours, theirs in (('depthwise_conv', 'dwconv'), ('pointwise_conv', 'pwconv')):
        name = name.replace(ours, theirs)
    return name


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_official_checkpoints_load_strictly(task, tmp_path):
    name = dict(detection=DETECTION[1], segmentation=SEGMENTATION[0])[task][0]
    cfg = load_config(REPO / f'configs/{task}/{name}.py')
    cfg.model.backbone.arch = 'atto'
    channels = [40, 80, 160, 320]
    if task == 'detection':
        cfg.model.neck.in_channels = channels
    else:
        cfg.model.decode_head.in_channels, cfg.model.auxiliary_head.in_channels = channels, channels[2]
    cfg.model.backbone.init_cfg = None
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    theirs = {in_official_names(n): w for n, w in model.state_dict().items()}
    torch.save(
        dict(meta=dict(mmcv_version='1.3.9', CLASSES=('a',)), state_dict=theirs), tmp_path / 'official.pth'
    )
    loaded = load_weights(tmp_path / 'official.pth')
    assert not loaded.unknown
    assert not loaded.left_out
    model.load_state_dict(loaded.tensors, strict=True)


OURS = [
    'detection/mask-rcnn_convnext-v2-base_fpn_8xb2-amp-ms-3x_coco',
    'segmentation/upernet_convnext-v2-base_8xb2-amp-160k_ade20k-512px',
]


@pytest.mark.parametrize('name', OURS)
def test_configs_of_v2_build(name):
    backbone = on_meta(load_config(REPO / f'configs/{name}.py')).backbone
    blocks = [block for stage in backbone.stages for block in stage]
    assert all(block.grn is not None and block.gamma is None for block in blocks)


def test_every_config_starts_from_a_published_checkpoint_and_is_tested_here():
    files = {
        file.stem: file
        for task in ('detection', 'segmentation')
        for file in (REPO / 'configs' / task).glob('*.py')
    }
    assert set(files) == {*NAMES, *(Path(name).name for name in OURS)}
    for file in files.values():
        start = load_config(file).model.backbone.init_cfg.checkpoint
        assert get_entry(start.removeprefix('mmconvnext://')).name


def test_entries_state_the_parameters_of_their_configs():
    dense = [entry for entry in zoo().values() if entry.task in DENSE_TASKS]
    assert {Path(entry.config).stem for entry in dense} == set(NAMES)
    for entry in dense:
        assert (
            sum(p.numel() for p in on_meta(load_config(REPO / entry.config)).parameters()) == entry.parameters
        )
