"""A resumed run goes on as if nothing had happened."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..engine.loops import EpochLoop, Replayable
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
        # mmengine's own loops begin the epoch again.
        if self.progress is not None and isinstance(loop, Replayable):
            loop.go_on(self.progress)
        elif runner._resume and isinstance(loop, EpochLoop):
            # mmengine saves whole epochs, perhaps of other batches.
            loop._iter = loop._epoch * len(loop.dataloader)
        self.progress = None
