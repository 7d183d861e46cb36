"""Batches that can begin anywhere in an epoch, from workers that do not die too early."""

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
    """Batches of draws; those before a position are left out without being loaded.

    Args:
        sampler: of one epoch, or an endless one.
        batch_size: images a process.
        drop_last: leave out an incomplete last batch.
        multiple: an epoch has a multiple of this many batches. Official main.py makes an epoch of
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
        """Let the next iteration begin after this many batches of an epoch; for that iteration only."""
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
    """Let a dataloader's worker live on when all processes are asked to stop, so that the run can save.

    Only the training process itself may end it by SIGTERM, as it does with what is left at its own end.
    """
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # which alone tells who sent a signal; macOS has none
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=end_when_parent_asks, daemon=True).start()


def end_when_parent_asks() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
