"""mmengine's training loops, which can be resumed exactly at any iteration."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader, IterableDataset

from ..datasets.replay import draws_put_back
from ..errors import UserError
from ..registry import LOOPS


class Replayable:
    """State that both loops save and restore.

    Only training steps draw from the generators of a process: augmentation has its own seeds, and generators
    are restored after validation and dataloaders. So a state that is saved between two steps is complete.
    """

    validated = 0  # epoch, or iteration, of the last validation
    was_resumed = False  # from a checkpoint that holds progress
    random_state = None  # to resume with, in this process

    @property
    def stream(self) -> IterableDataset | None:
        """The dataset if it has its own order, else None."""
        dataset = self.dataloader.dataset
        return dataset if isinstance(dataset, IterableDataset) else None

    def progress(self) -> dict:
        """Return the state of the loop for a checkpoint; every process must call this."""
        return dict(
            batches_per_epoch=len(self.dataloader),
            processes=get_world_size(),
            # The order of a stream depends on its readers.
            layout=self.stream.layout(self.dataloader.num_workers) if self.stream else None,
            validated=self.validated,
            random_states=all_gather_object(self.random_state or random_state()),
        )

    def go_on(self, progress: dict) -> None:
        """Restore the result of ``progress``, with the epoch and iteration at which it was saved.

        Raises:
            UserError: this run has other batches than the saved one.
        """
        here = dict(batches_per_epoch=len(self.dataloader), processes=get_world_size())
        if progress['batches_per_epoch'] != here['batches_per_epoch']:
            raise UserError(
                'the checkpoint is of a run with {batches_per_epoch} batches an epoch in each of '
                '{processes} processes, this one has '.format(**progress)
                + '{batches_per_epoch} in each of {processes}; its place in the data and in the schedule '
                'would be lost. Keep processes x batch size and the data, or start a new run from its '
                'weights with --cfg-options load_from=FILE'.format(**here)
            )
        if self.stream and progress['iter'] % len(self.dataloader):
            self.stream.check_layout(progress['layout'], self.dataloader.num_workers)
        self._epoch, self._iter = progress['epoch'], progress['iter']
        self.validated = progress['validated']
        self.was_resumed = True
        if progress['processes'] == here['processes']:
            self.random_state = progress['random_states'][get_rank()]

    def restore_draws(self) -> None:
        if self.random_state is not None:
            set_random_state(self.random_state)
            self.random_state = None

    def validate_if_due(self, place: int, last: int) -> None:
        """Validate if it is due, without changing the random states of training."""
        due = place >= max(self.val_begin, 1) and (place % self.val_interval == 0 or place == last)
        if self.runner.val_loop is None or not due or self.validated == place:
            return
        self.validated = place
        # Kept here, because the best weights are saved after validation has drawn random numbers.
        self.random_state = random_state()
        self.runner.val_loop.run()
        self.restore_draws()


@LOOPS.register_module()
class EpochLoop(Replayable, EpochBasedTrainLoop):
    """Train by epochs, with the arguments of mmengine's ``EpochBasedTrainLoop``."""

    def begin_epoch(self) -> None:
        """Resume from a checkpoint of mmengine's loop, which has whole epochs, maybe of other batches."""
        self._iter = self._epoch * len(self.dataloader)

    @property
    def batches_done(self) -> int:
        """The number of batches done in this epoch."""
        return self._iter - self._epoch * len(self.dataloader)

    def run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        self.restore_draws()
        # An earlier run saved this epoch but stopped before its validation.
        self._decide_current_val_interval()
        if self.was_resumed and self.batches_done == 0:
            self.validate_if_due(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self.validate_if_due(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self.batches_done
        for i, batch in enumerate(batches_from(self.dataloader, self._epoch, done), start=done):
            self.run_iter(i, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class IterLoop(Replayable, IterBasedTrainLoop):
    """Train by iterations, with the arguments of mmengine's ``IterBasedTrainLoop``."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = None  # mmengine 0.10 has already started its workers

    def run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        self.restore_draws()
        self.runner.call_hook('before_train_epoch')
        self._decide_current_val_interval()
        if self.was_resumed:
            self.validate_if_due(self._iter, self._max_iters)
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            self.validate_if_due(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self) -> Iterator[dict]:
        if getattr(self.dataloader.batch_sampler, 'is_endless', False):
            yield from batches_from(self.dataloader, 0, self._iter)
        epoch, done = divmod(self._iter, len(self.dataloader))
        while True:
            yield from batches_from(self.dataloader, epoch, done)
            epoch, done = epoch + 1, 0


def batches_from(dataloader: DataLoader, epoch: int, done: int) -> Iterator[dict]:
    """Yield the batches of an epoch after the first ``done``, which are not loaded."""
    # A stream has its own order; for other datasets, the batch sampler defines it.
    is_stream = isinstance(dataloader.dataset, IterableDataset)
    (dataloader.dataset if is_stream else dataloader.batch_sampler).set_position(epoch, done)
    with draws_put_back():
        iterator = iter(dataloader)
    yield from iterator


def random_state() -> dict:
    """Return the states of the random generators of this process as plain values and tensors."""
    kind, numbers, *rest = np.random.get_state()
    return dict(
        python=random.getstate(),
        numpy=(kind, torch.from_numpy(numbers.astype(np.int64)), *rest),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    )


def set_random_state(state: dict) -> None:
    """Restore the result of ``random_state``, possibly read from a file."""
    version, numbers, gauss = state['python']
    random.setstate((version, tuple(numbers), gauss))
    kind, numbers, *rest = state['numpy']
    np.random.set_state((kind, numbers.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
