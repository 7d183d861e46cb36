"""Reproducible samples: their augmentation depends only on seed, epoch and sample."""

import random
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from PIL import UnidentifiedImageError
from torch.utils.data import Dataset, Sampler

MASK = (1 << 64) - 1
# A dataset with only broken images must end in an error.
MAX_REPLACEMENTS = 100


class Draw(int):
    """Index of a sample, together with the pass over the data in which it is drawn."""

    turn: int

    def __new__(cls, index: int, turn: int) -> 'Draw':
        draw = super().__new__(cls, index)
        draw.turn = turn
        return draw

    def __reduce__(self) -> tuple:
        return Draw, (int(self), self.turn)


class Replayed(Dataset):
    """Wrap a dataset so that the sample ``Draw(index, turn)`` is the same in any process, order and run.

    An image that cannot be read is replaced by another one, chosen in the same reproducible way, and the
    replacement contains its path, see ``mark_replaced``. Everything else is passed to the wrapped dataset.

    Args:
        dataset: dataset of packed samples ``dict(inputs=..., data_samples=...)``.
        seed: seed of the augmentation.
    """

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset, self.seed = dataset, seed

    def __getattr__(self, name: str):
        if name == 'dataset':  # while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: int) -> dict:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[int]) -> list[dict]:
        # Once per batch: restoring the states costs as much as seeding ten samples.
        with draws_put_back():
            return [self._sample(int(draw), getattr(draw, 'turn', 0)) for draw in draws]

    def _sample(self, index: int, turn: int) -> dict:
        seed_draws(self.seed, turn, index)
        try:
            return self.dataset[index]
        except Exception as error:  # transforms raise any exception
            if not is_broken_image(error):
                raise
            reason = error
            path = str(self.dataset.get_data_info(index).get('img_path', f'sample {index}'))
        for attempt in range(MAX_REPLACEMENTS):
            other = mixed(self.seed, turn, index, attempt) % len(self)
            seed_draws(self.seed, turn, other)
            try:
                return mark_replaced(self.dataset[other], path, reason)
            except Exception as error:  # as above
                if not is_broken_image(error) or attempt == MAX_REPLACEMENTS - 1:
                    raise
        raise AssertionError('the last attempt raises')


class Draws(Sampler):
    """Wrap a sampler so that each index has its pass over the data.

    Args:
        sampler: sampler to wrap; an endless ``InfiniteSampler`` restarts at ``set_epoch``.
    """

    def __init__(self, sampler: Sized):
        self.sampler = sampler
        self.epoch = 0

    def __getattr__(self, name: str):
        if name == 'sampler':
            raise AttributeError(name)
        return getattr(self.sampler, name)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Draw]:
        if isinstance(self.sampler, InfiniteSampler):
            yield from self._endless()
        elif type(self.sampler) is DefaultSampler:
            yield from (Draw(index, self.epoch) for index in self.sampler)
        else:  # a sampler that may repeat samples within an epoch, which must be augmented differently
            for place, index in enumerate(self.sampler):
                yield Draw(index, mixed(self.epoch, place, getattr(self.sampler, 'rank', 0)))

    def _endless(self) -> Iterator[Draw]:
        """Yield the passes of ``InfiniteSampler`` from the first on, without its own position."""
        sampler, place, turn = self.sampler, self.sampler.rank, 0
        generator = torch.Generator()
        while True:
            generator.manual_seed(mixed(sampler.seed, turn))
            order = (
                torch.randperm(sampler.size, generator=generator).tolist()
                if sampler.shuffle
                else list(range(sampler.size))
            )
            yield from (Draw(index, turn) for index in order[place :: sampler.world_size])
            # Ranks take turns in one endless sequence, independent of the length of a pass.
            place, turn = (place - sampler.size) % sampler.world_size, turn + 1


def mixed(*numbers: int) -> int:
    """Hash numbers to 64 bits, about half of which change when one number changes.

    Applies the finalizer of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators") once per number.
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def seed_draws(seed: int, epoch: int, sample: int) -> None:
    """Seed the generators of Python, NumPy and torch that transforms use."""
    state = mixed(seed, epoch, sample)
    random.seed(state)
    np.random.seed(state & 0xFFFFFFFF)
    torch.default_generator.manual_seed(state)


@contextmanager
def draws_put_back() -> Iterator[None]:
    """Restore the generators of Python, NumPy and torch afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def is_broken_image(error: Exception) -> bool:
    """Return whether an exception of a pipeline means that the image is missing or cannot be decoded."""
    unreadable = isinstance(error, (OSError, cv2.error, UnidentifiedImageError))
    # mmcv asserts this after cv2 has returned None.
    return unreadable or 'failed to load image' in str(error)


def mark_replaced(sample: dict, path: str, reason: Exception) -> dict:
    """Record in a packed sample which image it replaces, and why."""
    sample['data_samples'].set_metainfo(dict(stands_in_for=path, stands_in_because=str(reason)))
    return sample
