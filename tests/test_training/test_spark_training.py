"""SparK on handwritten digits: interrupted, in two processes, and without a GPU for its mixed precision."""

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmconvnext.apis import train
from tests.conftest import REPO
from tests.processes import run


@pytest.fixture
def config(tmp_path):
    """Return a config that pre-trains a tiny network on 64 digits for four epochs."""
    file = tmp_path / 'spark_digits.py'
    bases = ('models/spark', 'datasets/digits_masked_32', 'schedules/spark_1600e', 'default_runtime')
    file.write_text(
        f'_base_ = {[str(REPO / f"configs/_base_/{base}.py") for base in bases]}\n'
        'arch = dict(_delete_=True, depths=(1, 1, 2), channels=(8, 16, 24), stem_patch_size=2)\n'
        'model = dict(backbone=dict(arch=arch, drop_path_rate=0.2), patch_size=8, decoder_channels=32)\n'
        'train_dataloader = dict(batch_size=16, dataset=dict(indices=64))\n'
        'param_scheduler = dict(epochs=4, warmup_epochs=1)\n'
        'train_cfg = dict(max_epochs=4, val_interval=4)\n'
        'auto_scale_lr = dict(base_batch_size=16)\n'
        'default_hooks = dict(logger=dict(interval=1))\n'
    )
    return file


def load(file):
    return torch.load(file, weights_only=False)


def test_training_learns_in_fp32_without_a_gpu_and_resumes_bit_for_bit(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    runner = train(config, work_dir=str(tmp_path / 'whole'))
    assert type(runner.optim_wrapper) is OptimWrapper
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 16
    assert losses[-4:].mean() < losses[:4].mean()
    train(config, work_dir=str(tmp_path / 'parts'), cfg_options={'train_cfg.max_epochs': 2})
    train(config, work_dir=str(tmp_path / 'parts'), resume='latest')
    whole, parts = (load(tmp_path / name / 'epoch_4.pth') for name in ('whole', 'parts'))
    for name, weight in whole['state_dict'].items():
        assert torch.equal(weight, parts['state_dict'][name]), name
    # LAMB counts its steps in the groups, for its correction of the first averages.
    steps = [[group['step'] for group in each['optimizer']['param_groups']] for each in (whole, parts)]
    assert steps[0] == steps[1]
    assert set(steps[0]) == {16}


def test_two_processes_train_like_one(config, tmp_path):
    """With the statistics of the decoder's batch norms over both, whose halves of a batch differ."""
    options = {'model.backbone.drop_path_rate': 0.0, 'train_cfg.max_epochs': 1}
    halves = options | {'train_dataloader.batch_size': 8}
    assert run(config, tmp_path / 'one', options) == [0]
    assert run(config, tmp_path / 'two', halves, ranks=2) == [0, 0]
    one, two = (load(tmp_path / name / 'epoch_1.pth')['state_dict'] for name in ('one', 'two'))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    'name', ['spark_convnext-small_16xb256-amp-1600e_in1k', 'spark_convnext-v2-tiny_16xb256-amp-800e_in1k']
)
def test_smoke_test_of_a_config_passes(name, tmp_path):
    options = {'model.backbone.arch': 'atto', 'model.decoder_channels': 32}
    runner = train(name, smoke=True, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert runner.iter == 2
    for loss in runner.message_hub.get_scalar('train/loss').data[0]:
        assert 0.5 < loss < 2
