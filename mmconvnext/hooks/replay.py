"""Restore random states and position of a resumed run."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class ReplayHook(Hook):
    """Restore the random states and the position of a resumed training loop, see ``engine.loops``."""

    priority = 'HIGHEST'  # before other hooks read the position
    progress = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            self.progress = checkpoint['meta'].get('replay')

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        if self.progress is not None and hasattr(loop, 'go_on'):  # other loops start the epoch again
            loop.go_on(self.progress)
        elif runner._resume and hasattr(loop, 'begin_epoch'):
            loop.begin_epoch()
        self.progress = None
