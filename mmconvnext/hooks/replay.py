"""A resumed run goes on as if nothing had happened."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..engine.loops import Replayable
from ..registry import HOOKS


@HOOKS.register_module()
class ReplayHook(Hook):
    """Give a resumed training loop back its random states and its place, see ``engine.loops``."""

    progress = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            self.progress = checkpoint['meta'].get('replay')

    def before_train(self, runner: Runner) -> None:
        # mmengine's own loops begin the epoch again.
        if self.progress is not None and isinstance(runner.train_loop, Replayable):
            runner.train_loop.go_on(self.progress)
        self.progress = None
