"""Distributed engines can be merged into any config, and refuse options that they would ignore."""

import importlib.machinery
import inspect

import pytest

from mmconvnext.apis import load_config, train
from mmconvnext.config import distributed
from mmconvnext.config.distributed import FRAGMENTS, prepare_engine
from mmconvnext.engine import ShardedRunner
from mmconvnext.engine.runner import FlexibleRunner, Runner
from mmconvnext.errors import UserError
from mmconvnext.training.runner import runner_class

RECIPE = 'convnext-large_64xb64_in1k'


def test_without_an_engine_the_runner_is_as_ever():
    assert runner_class(load_config(RECIPE)) is Runner


def test_an_engine_can_be_named_or_be_a_base_of_a_config(tiny_config):
    assert runner_class(load_config(tiny_config, distributed='fsdp')) is ShardedRunner
    first, *rest = tiny_config.read_text().splitlines()
    bases = f'{first.split("= ")[1]}, {str(FRAGMENTS / "fsdp.py")!r}'
    tiny_config.write_text('\n'.join([f'_base_ = [{bases}]', *rest]))
    assert runner_class(load_config(tiny_config)) is ShardedRunner


def test_options_of_the_command_line_go_over_the_engine():
    options = {'strategy.zero_optimization.stage': 2}
    assert load_config(RECIPE, options, distributed='deepspeed').strategy.zero_optimization.stage == 2
    with pytest.raises(UserError, match='strategy has no .zero_optimisation.'):
        load_config(RECIPE, {'strategy.zero_optimisation': {}}, distributed='deepspeed')


def test_unknown_engine():
    with pytest.raises(UserError, match='--distributed fdsp: the engines are ddp, fsdp, deepspeed'):
        load_config(RECIPE, distributed='fdsp')


@pytest.mark.parametrize('engine', ['fsdp', 'deepspeed'])
def test_one_process_has_nothing_to_spread_over(tiny_config, tmp_path, engine):
    with pytest.raises(UserError, match='this is one; start them with tools/dist_train.sh'):
        train(tiny_config, work_dir=str(tmp_path / 'work'), distributed=engine)
    assert not (tmp_path / 'work').exists()


def deepspeed_config(monkeypatch, **options):
    spec = importlib.machinery.ModuleSpec('deepspeed', None)
    monkeypatch.setattr(distributed, 'find_spec', lambda name: spec)
    return load_config(RECIPE, {'custom_hooks': [], **options}, distributed='deepspeed')


def test_the_strategy_of_mmengine_takes_the_settings_of_deepspeed(monkeypatch):
    from mmengine._strategy import DeepSpeedStrategy

    cfg = deepspeed_config(monkeypatch)
    prepare_engine(cfg, 'pytorch')
    assert cfg.optim_wrapper.type == 'DeepSpeedOptimWrapper'
    assert runner_class(cfg) is FlexibleRunner
    assert set(cfg.strategy) - {'type'} <= set(inspect.signature(DeepSpeedStrategy).parameters)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'custom_hooks': [dict(type='EMAHook')]}, 'averages of the weights'),
        ({'optim_wrapper.type': 'AmpOptimWrapper'}, 'strategy.bf16.enabled=True'),
        ({'optim_wrapper.accumulative_counts': 4}, 'gradient_accumulation_steps'),
        ({'optim_wrapper.clip_grad': dict(max_norm=1)}, 'gradient_clipping'),
        ({'auto_scale_lr.enable': True}, '--auto-scale-lr'),
        ({'load_from': 'a.pth'}, 'load_from'),
        ({'load_from': 'a.pth', 'resume': True}, '--resume'),
    ],
)
def test_deepspeed_refuses_what_mmengine_would_leave_out(monkeypatch, options, message):
    with pytest.raises(UserError, match=f'DeepSpeed does not take .*{message}'):
        prepare_engine(deepspeed_config(monkeypatch, **options), 'pytorch')


def test_deepspeed_that_is_not_installed(monkeypatch):
    cfg = deepspeed_config(monkeypatch)
    monkeypatch.setattr(distributed, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='pip install "mmconvnext\\[deepspeed\\]"'):
        prepare_engine(cfg, 'pytorch')
