"""A hook that sends a signal to a training."""

import os

from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class SignalHook(Hook):
    """Send a signal to this process in a given iteration."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


def signalled(number, iteration):
    return {'custom_hooks': [dict(type='mmconvnext.SignalHook', number=int(number), iteration=iteration)]}
