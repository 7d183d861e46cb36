"""Samples that can be drawn again: their augmentation depends on seed, epoch and sample alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from PIL import UnidentifiedImageError

MASK = (1 << 64) - 1


def mixed(*numbers: int) -> int:
    """64 bits that differ in about half their places when one of the numbers changes.

    The finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators"), once for every number.
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def seed_draws(seed: int, epoch: int, sample: int) -> None:
    """Set the generators of python, numpy and torch that transforms draw from."""
    state = mixed(seed, epoch, sample)
    random.seed(state)
    np.random.seed(state & 0xFFFFFFFF)
    torch.default_generator.manual_seed(state)


@contextmanager
def draws_put_back() -> Iterator[None]:
    """Leave the generators of python, numpy and torch as they were found."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def is_broken_image(error: Exception) -> bool:
    """Whether an exception of a pipeline says that the image file is missing or cannot be decoded."""
    unreadable = isinstance(error, (OSError, cv2.error, UnidentifiedImageError))
    # mmcv asserts this after cv2 returned nothing.
    return unreadable or 'failed to load image' in str(error)


def mark_replaced(sample: dict, path: str) -> dict:
    """Tell the training process which image this packed sample stands in for."""
    sample['data_samples'].set_metainfo(dict(stands_in_for=path))
    return sample
