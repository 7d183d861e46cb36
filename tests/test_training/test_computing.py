"""Training with a compiled backbone gives the same result."""

import pytest
import torch

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError

# Compiling takes seconds per block.
SMALLEST = {
    'model.backbone.arch': dict(_delete_=True, depths=(1,), channels=(8,)),
    'model.head.in_channels': 8,
}


@pytest.mark.slow
def test_compiled_run_learns_the_same_and_its_checkpoint_is_ordinary(tiny_config, tmp_path):
    losses = {}
    for compile in (True, False):
        runner = train(
            tiny_config,
            work_dir=str(tmp_path / str(compile)),
            no_validate=True,
            compile=compile,
            cfg_options={**SMALLEST, 'train_cfg.max_epochs': 1},
        )
        losses[compile] = list(runner.message_hub.get_scalar('train/loss').data[0])
        called = runner.model.backbone._compiled_call_impl
        assert (called is not None) == compile
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert evaluate(
        tiny_config, tmp_path / 'True/epoch_1.pth', work_dir=str(tmp_path / 'test'), cfg_options=SMALLEST
    )


def test_missing_compiler_is_told_before_the_run(tiny_config, tmp_path, monkeypatch):
    def broken(function):
        def call(_):
            raise RuntimeError('No working C++ compiler found')

        return call

    monkeypatch.setattr(torch, 'compile', broken)
    with pytest.raises(UserError, match='No working C\\+\\+ compiler found; install'):
        train(tiny_config, work_dir=str(tmp_path / 'work'), compile=True)
    assert not (tmp_path / 'work').exists()


def test_engines_that_do_not_go_together_with_it(tiny_config, tmp_path):
    with pytest.raises(UserError, match='--distributed fsdp; leave one out'):
        train(tiny_config, work_dir=str(tmp_path / 'work'), compile=True, distributed='fsdp')
