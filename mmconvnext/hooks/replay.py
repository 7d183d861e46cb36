"""A resumed run goes on as if nothing had happened."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class ReplayHook(Hook):
    """Give a resumed training loop back its random states and its place, see ``engine.loops``."""

    priority = 'HIGHEST'  # before others note the place
    progress = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            self.progress = checkpoint['meta'].get('replay')

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        if self.progress is not None and hasattr(loop, 'go_on'):  # other loops begin the epoch again
            loop.go_on(self.progress)
        elif runner._resume and hasattr(loop, 'begin_epoch'):
            loop.begin_epoch()
        self.progress = None
