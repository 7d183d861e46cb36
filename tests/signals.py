"""Trainings that get a signal at a given time."""

import os

from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class SignalHook(Hook):
    """Send this process a signal in an iteration."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


def signalled(number, iteration):
    return {'custom_hooks': [dict(type='mmconvnext.SignalHook', number=int(number), iteration=iteration)]}
