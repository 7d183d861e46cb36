"""Two processes with sharding give the same results as two without."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmconvnext.apis import evaluate
from tests.conftest import REPO
from tests.processes import run

# Odd numbers of channels; averaging, layer decay and clipping as in the large recipes.
CONFIG = f"""
_base_ = '{REPO / 'configs/digits/convnext-atto_1xb48_digits.py'}'
model = dict(
    backbone=dict(arch=dict(_delete_=True, depths=(1, 1, 2, 1), channels=(7, 15, 24, 33))),
    head=dict(in_channels=33),
)
optim_wrapper = dict(
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.8, layer_decay_scheme='single'),
    optimizer=dict(lr=1e-2),
    clip_grad=dict(max_norm=0.5),
)
custom_hooks = [dict(type='mmconvnext.EMAHook', momentum=0.3, priority='ABOVE_NORMAL')]
train_dataloader = dict(batch_size=8, dataset=dict(indices=64))
val_dataloader = dict(batch_size=16, dataset=dict(indices=64))
test_dataloader = dict(batch_size=16, dataset=dict(indices=64))
train_cfg = dict(max_epochs=2)
default_hooks = dict(logger=dict(interval=1))
auto_scale_lr = dict(base_batch_size=16)
"""


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Train with each engine from scratch, and resumed from the first epoch of the other."""
    root = tmp_path_factory.mktemp('runs')
    starts = {'ddp': None, 'fsdp': None, 'ddp_resumed': 'fsdp', 'fsdp_resumed': 'ddp'}
    for name, other in starts.items():
        (root / f'{name}.py').write_text(CONFIG)
        resume = str(root / other / 'epoch_1.pth') if other else None
        engine = name.removesuffix('_resumed')
        codes = run(root / f'{name}.py', root / name, {}, ranks=2, distributed=engine, resume=resume)
        assert codes == [0, 0]
    return root


def scalars(folder: Path) -> list[dict]:
    return [
        json.loads(line) for line in next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()
    ]


def values(folder: Path, key: str) -> list[float]:
    return [line[key] for line in scalars(folder) if key in line]


def saved(folder: Path) -> dict:
    return torch.load(folder / 'epoch_2.pth', weights_only=False)


@pytest.mark.slow
@pytest.mark.parametrize('suffix', ['', '_resumed'])
def test_losses_norms_and_accuracies_are_those_of_data_parallelism(runs, suffix):
    for key, count in (('loss', 8), ('grad_norm', 8), ('accuracy/top1', 2)):
        plain, sharded = values(runs / f'ddp{suffix}', key), values(runs / f'fsdp{suffix}', key)
        assert len(plain) == (count // 2 if suffix else count)
        assert sharded == pytest.approx(plain, rel=1e-4)
    assert len(set(plain)) > (0 if suffix else 1)


@pytest.mark.slow
@pytest.mark.parametrize('suffix', ['', '_resumed'])
def test_checkpoints_are_whole_and_those_of_data_parallelism(runs, suffix):
    plain, sharded = saved(runs / f'ddp{suffix}'), saved(runs / f'fsdp{suffix}')
    for field in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert_same(sharded[field], plain[field], field)
    assert len(plain['optimizer']['param_groups']) > 2
    # The average differs from the weights.
    name = 'backbone.stages.3.0.depthwise_conv.weight'
    assert not torch.equal(plain['state_dict'][name], plain['ema_state_dict'][f'module.{name}'])


def assert_same(ours, theirs, place):
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), place
        for key in theirs:
            assert_same(ours[key], theirs[key], f'{place}.{key}')
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), place
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f'{place}.{number}')
    elif isinstance(theirs, torch.Tensor):
        assert type(ours) is torch.Tensor
        # Sums are computed in another order, and Adam divides by their roots.
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=lambda text: f'{place}: {text}')
    else:
        assert ours == theirs, place


@pytest.mark.slow
def test_another_tool_reads_the_checkpoint_in_one_process(runs, tmp_path):
    metrics = evaluate(runs / 'fsdp.py', runs / 'fsdp/epoch_2.pth', work_dir=str(tmp_path))
    assert metrics['accuracy/top1'] == pytest.approx(values(runs / 'fsdp', 'accuracy/top1')[-1])


def test_sharded_parameters_are_parts_with_whole_shapes(tmp_path):
    from mmengine.registry import MODELS
    from torch.distributed.tensor import DTensor

    from mmconvnext.engine.sharding import shard
    from mmconvnext.models.block import ConvNeXtBlock
    from mmconvnext.registry import default_scope

    (tmp_path / 'c.py').write_text(CONFIG)
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        with default_scope('mmpretrain'):
            model = shard(MODELS.build(Config.fromfile(tmp_path / 'c.py').model))
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
        blocks = [module for module in model.modules() if isinstance(module, ConvNeXtBlock)]
        # Each block is gathered separately.
        assert len(blocks) == 5
        assert all(hasattr(block, 'unshard') for block in [model, *blocks])
    finally:
        torch.distributed.destroy_process_group()
