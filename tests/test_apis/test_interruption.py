"""A run that is killed and resumed ends as one that was not."""

import random
import signal

import pytest
import torch

from tests.processes import run

# Where a run dies, and at most at which call: before a checkpoint is in place, between it and the pointer to
# it, in writing, in a step, in a loss, in a validation, behind an iteration.
PLACES = {
    'mmconvnext.engine.runner:put_in_place': 3,
    'mmconvnext.hooks.checkpoint:written_whole': 3,
    'mmengine.fileio.backends:LocalBackend.put': 3,
    'torch.optim:AdamW.step': 6,
    'mmpretrain.models:ImageClassifier.loss': 6,
    'mmpretrain.models:ImageClassifier.predict': 3,
    'mmconvnext.hooks.preemption:PreemptionHook.after_train_iter': 6,
}
OPTIONS = {
    'train_cfg.max_epochs': 6,
    'default_hooks.checkpoint.every_iters': 3,
    'model.backbone.drop_path_rate': 0.3,  # draws from the random states of the process
    'train_dataloader.dataset.indices': 75,  # the last batch is not full
}


def weights_of_the_end(work_dir, name='epoch_6.pth'):
    checkpoint = torch.load(work_dir / name, weights_only=False)
    optimizer = checkpoint['optimizer']['state']
    moments = {f'{i}.{key}': value for i, state in optimizer.items() for key, value in state.items()}
    return checkpoint['state_dict'] | moments


def kill_and_resume(config, work_dir, options, kills, *, ranks=1, seed=0):
    """Kill at so many drawn moments, each time going on; then let it end."""
    draw = random.Random(seed)
    for _ in range(kills):
        place = draw.choice(sorted(PLACES))
        moment = place, draw.randint(1, PLACES[place])
        codes = run(config, work_dir, options, ranks=ranks, kill=moment, resume='auto')
        # A rank that lost its partner ends with an error of its own.
        assert -signal.SIGKILL in codes, f'{moment} was not reached: {codes}'
    assert run(config, work_dir, options, ranks=ranks, resume='auto') == [0] * ranks


@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.slow), 3])
def test_killed_and_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(tiny_config, tmp_path, workers):
    options = OPTIONS | {'train_dataloader.num_workers': workers}
    assert run(tiny_config, tmp_path / 'whole', options) == [0]
    kill_and_resume(tiny_config, tmp_path / 'killed', options, kills=5, seed=workers)
    expected = weights_of_the_end(tmp_path / 'whole')
    torch.testing.assert_close(weights_of_the_end(tmp_path / 'killed'), expected, rtol=0, atol=0)
