"""Log the images per second of a training."""

import time

from mmengine.dist import get_world_size
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner
from torch import Tensor

from ..registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log ``train/images_per_s``: images of all processes divided by the seconds since the last log line.

    The time includes data loading and everything else from one iteration to the next, but not validation and
    the time between epochs. All processes train in step with the same batch size, so the images of one are
    multiplied and nothing is exchanged.
    """

    def before_train(self, runner: Runner) -> None:
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = loggers[0].interval if loggers else 10
        loader = runner.train_dataloader
        self.batch_size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 0)
        self.world_size = get_world_size()
        self._start_window()

    def before_train_epoch(self, runner: Runner) -> None:
        self._start_window()

    def after_val(self, runner: Runner) -> None:
        # An iteration-based run validates in the middle of its only epoch.
        self.last = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        now = time.perf_counter()
        self.seconds += now - self.last
        self.last = now
        self.images += count_images(data_batch, self.batch_size)
        # Only when LoggerHook reads it, because mmengine copies the whole history of a scalar at every
        # update.
        if (batch_idx + 1) % self.interval == 0 or self.end_of_epoch(runner.train_dataloader, batch_idx):
            if self.images:
                rate = self.world_size * self.images / self.seconds
                runner.message_hub.update_scalar('train/images_per_s', rate)
            self._start_window()

    def _start_window(self) -> None:
        self.images, self.seconds, self.last = 0, 0.0, time.perf_counter()


def count_images(data_batch, batch_size: int) -> int:
    """Return the images in a batch of this process, or ``batch_size`` if the batch has no list of images.

    The last batch may be smaller than the others; semi-supervised detection has a dict of several branches.
    """
    inputs = data_batch.get('inputs') if isinstance(data_batch, dict) else None
    return len(inputs) if isinstance(inputs, (Tensor, list, tuple)) else batch_size
