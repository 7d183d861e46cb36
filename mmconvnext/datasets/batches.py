"""Batches that can start at any position of an epoch, and workers that outlive signals."""

import os
import signal
import threading
from collections.abc import Iterator
from itertools import islice

from mmengine.dataset import InfiniteSampler
from torch.utils.data import BatchSampler, Sampler

from ..errors import UserError
from ..registry import DATA_SAMPLERS, FUNCTIONS
from ..text import counted
from .replay import Draw, Draws


@DATA_SAMPLERS.register_module()
class ReplayableBatches:
    """A batch sampler of draws that can skip the batches before a position without loading them.

    Args:
        sampler: sampler of one epoch, or an endless one.
        batch_size: images per process.
        drop_last: whether to drop an incomplete last batch.
        multiple: the number of batches in an epoch is a multiple of this. Official main.py makes an epoch of
            ``len(dataset) // effective batch`` steps, so that no gradient is accumulated across epochs.
        inner: config of another batch sampler, which gets the sampler and the batch size.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        *,
        drop_last: bool = False,
        multiple: int = 1,
        inner: dict | None = None,
    ):
        self.sampler = Draws(sampler)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.batches = (
            BatchSampler(self.sampler, batch_size, drop_last)
            if inner is None
            else DATA_SAMPLERS.build(inner, default_args=dict(sampler=self.sampler, batch_size=batch_size))
        )
        self.start = 0
        self.multiple = 1 if self.is_endless else multiple
        if not self.is_endless and len(self.batches) < multiple:
            raise UserError(
                f'an epoch has {counted(len(self.batches), "batch")} in each process, fewer than the '
                f'{multiple} whose gradients are accumulated for a step; lower '
                'optim_wrapper.accumulative_counts or the batch size'
            )

    def set_position(self, epoch: int, batches: int) -> None:
        """Start the next iteration, and only that, after this many batches of an epoch."""
        self.sampler.set_epoch(epoch)
        self.start = batches

    @property
    def is_endless(self) -> bool:
        return isinstance(self.sampler.sampler, InfiniteSampler)

    def __len__(self) -> int:
        return len(self.batches) // self.multiple * self.multiple

    def __iter__(self) -> Iterator[list[Draw]]:
        start, self.start = self.start, 0
        yield from islice(self.batches, start, None if self.is_endless else len(self))


@FUNCTIONS.register_module()
def leave_signals_to_parent(worker_id: int) -> None:
    """Keep a dataloader worker alive when all processes get a stop signal, so that the run can save.

    Only the training process itself can end it with SIGTERM, as it does with remaining workers on exit.
    """
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # the only way to know the sender of a signal; not available on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=end_when_parent_asks, daemon=True).start()


def end_when_parent_asks() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
