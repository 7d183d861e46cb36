"""--smoke runs any classifier of OpenMMLab, whatever its network, schedule and loops."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmconvnext.apis import load_config, train
from mmconvnext.errors import UserError
from mmconvnext.training.model import build_on_meta

COSINE = "dict(type='CosineAnnealingLR', begin=20, convert_to_iter_based=True)"
LINEAR = "dict(type='LinearLR', start_factor=0.1, begin=0, end=20, convert_to_iter_based=True)"
ITERATIONS = "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=1000, val_interval=100)\n"


@pytest.mark.parametrize(
    'change',
    [
        f"param_scheduler = [{LINEAR}, dict(type='CosineAnnealingLR', T_max=80, begin=20, end=100)]",
        f'param_scheduler = [{LINEAR}, {COSINE}]\ntrain_cfg = dict(max_epochs=100)',
        "param_scheduler = dict(_delete_=True, type='StepLR', step_size=30, begin=5)",
        'param_scheduler = dict(epochs=300, warmup_epochs=20)\ntrain_cfg = dict(max_epochs=300)',
        f"{ITERATIONS}param_scheduler = [dict(type='PolyLR', by_epoch=False, begin=100)]\n"
        "train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))",
        'val_cfg = val_dataloader = val_evaluator = None',
        "custom_hooks = [dict(type='EMAHook', momentum=4e-5, begin_epoch=5)]",
        "model = dict(head=dict(_delete_=True, type='MultiLabelLinearClsHead', num_classes=10, "
        'in_channels=32))\n'
        "val_evaluator = [dict(type='AveragePrecision'), dict(type='MultiLabelMetric')]",
        "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=3, dataset=dict("
        "type='mmconvnext.Digits', split='train', pipeline=[dict(type='mmconvnext.PackInputs')])))",
    ],
)
def test_smoke_test_passes_with_any_schedule_loop_and_head(change, tiny_config, tmp_path):
    file = tmp_path / 'changed.py'
    file.write_text(f"_base_ = '{tiny_config}'\n{change}\n")
    runner = train(file, smoke=True, work_dir=str(tmp_path / 'work'))
    assert runner.iter == 2


NETWORKS = {
    'ResNet': dict(type='ResNet_CIFAR', depth=18),
    'ConvNeXt': dict(
        type='ConvNeXt', arch=dict(depths=[1, 1, 2, 1], channels=[8, 8, 8, 16]), drop_path_rate=0.1
    ),
    'SwinTransformer': dict(
        type='SwinTransformer',
        arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
        img_size=32,
        window_size=4,
        drop_path_rate=0.1,
    ),
    'VisionTransformer': dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16),
        img_size=32,
        patch_size=8,
        drop_path_rate=0.1,
    ),
    'MobileNetV2': dict(type='MobileNetV2', widen_factor=0.25),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_names_and_shapes_of_mmpretrains_networks_need_no_memory(name):
    head = dict(type='LinearClsHead', num_classes=3, in_channels=16)
    cfg = Config(dict(model=dict(type='ImageClassifier', backbone=NETWORKS[name], head=head)))
    init_default_scope('mmpretrain')
    built, expected = build_on_meta(cfg), MODELS.build(cfg.model)
    assert {n: p.shape for n, p in built.state_dict().items()} == {
        n: p.shape for n, p in expected.state_dict().items()
    }
    assert all(p.is_meta for p in built.parameters())
    assert all(not p.is_meta for p in MODELS.build(cfg.model).parameters())  # the next model is a common one


class ReadsItsWeights(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.largest = self.layer.weight.max().item()


def test_network_that_reads_its_weights_while_it_is_built_is_built_on_the_cpu():
    built = build_on_meta(Config(dict(model=dict(type=ReadsItsWeights))))
    assert built.layer.weight.is_meta
    assert built.largest > 0


def test_mmpretrains_own_network_trains(tiny_config, tmp_path):
    file = tmp_path / 'theirs.py'
    file.write_text(
        f"_base_ = '{tiny_config}'\n"
        f'model = dict(backbone=dict(_delete_=True, **{NETWORKS["ConvNeXt"]}),\n'
        "    head=dict(_delete_=True, type='LinearClsHead', num_classes=10, in_channels=16))\n"
    )
    runner = train(file, work_dir=str(tmp_path / 'work'), cfg_options={'train_cfg.max_epochs': 1})
    assert (tmp_path / 'work/epoch_1.pth').exists()
    assert type(runner.model.backbone).__module__.startswith('mmpretrain')


def test_model_without_classes_is_refused(tiny_config, tmp_path):
    options = {'model.head': dict(type='MAEPretrainHead', _delete_=True)}
    with pytest.raises(UserError, match='--smoke makes noise for classifiers'):
        train(tiny_config, smoke=True, work_dir=str(tmp_path), cfg_options=options)
    assert load_config(tiny_config).model.head.num_classes == 10
