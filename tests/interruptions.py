"""Kill a run at random moments and resume it."""

import os
import random
import signal

import torch

from tests.processes import run

# Where a run is killed, and the maximum call: before a checkpoint is renamed, between it and the pointer to
# it, while writing, in a step, in a loss, in a validation, after an iteration.
PLACES = {
    'mmconvnext.engine.runner:put_in_place': 3,
    'mmconvnext.hooks.checkpoint:written_whole': 3,
    'mmengine.fileio.backends:LocalBackend.put': 3,
    'torch.optim:AdamW.step': 6,
    'mmpretrain.models:ImageClassifier.loss': 6,
    'mmpretrain.models:ImageClassifier.predict': 3,
    'mmconvnext.hooks.preemption:PreemptionHook.after_train_iter': 6,
}
# KILLS=20 is thorough and takes minutes.
KILLS = int(os.environ.get('KILLS', 2))
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


def kill_and_resume(config, work_dir, options, kills, *, ranks=1, seed=0, places=PLACES):
    """Kill a run at random moments, resume it each time, and let it finish."""
    draw = random.Random(seed)
    for _ in range(kills):
        place = draw.choice(sorted(places))
        moment = place, draw.randint(1, places[place])
        codes = run(config, work_dir, options, ranks=ranks, kill=moment, resume='auto')
        # A rank that loses its partner ends with another error.
        assert -signal.SIGKILL in codes, f'{moment} was not reached: {codes}'
    assert run(config, work_dir, options, ranks=ranks, resume='auto') == [0] * ranks
