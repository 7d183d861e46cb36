"""The samples that a worker returns in an epoch, and their order."""

import random
from typing import NamedTuple


class Part(NamedTuple):
    """The samples of one worker of one process in an epoch.

    Attributes:
        start: position of its first sample in the order of the epoch.
        samples: number of samples from there on, each returned once.
        slots: number of returned samples: ``samples``, plus one if that makes processes equal.
    """

    start: int
    samples: int
    slots: int


def split(
    total: int,
    *,
    rank: int,
    world_size: int,
    workers: int,
    worker: int,
    batch_size: int,
    multiple: int,
    training: bool,
) -> Part:
    """Return the part of a worker, such that samples are not repeated and all processes return equally many.

    A process has one range of the order of the epoch. Of its batches 0, 1, ..., worker w returns w, w +
    workers, ..., as DataLoader asks workers in turn, from a range of its own.

    In training, a process returns whole batches, a multiple of ``multiple``; the rest is dropped in this
    epoch. In evaluation, every sample is returned; if processes differ by one, the shorter ones add a sample
    at the end, where mmengine, which interleaves the results of the processes, cuts it off.
    """
    each, left = divmod(total, world_size)
    if training:
        start, samples = rank * each, each - each % (batch_size * multiple)
        slots = samples
    else:
        start, samples = rank * each + min(rank, left), each + (rank < left)
        slots = each + (left > 0)
    batches = -(-slots // batch_size)
    last = (batches - 1) % workers
    for w in range(worker + 1):
        served = len(range(w, batches, workers)) * batch_size
        if w == last:
            served -= batches * batch_size - slots
        real = served - (slots - samples if w == last else 0)
        if w == worker:
            return Part(start, real, served)
        start += real
    raise AssertionError(f'worker {worker} of {workers}')


class ShuffleBuffer:
    """Offsets 0, 1, ... ``count - 1`` in a random order, each at most ``size`` positions early.

    The order depends only on the generator, so resuming within it needs no data.
    """

    def __init__(self, count: int, size: int, draw: random.Random):
        self.count, self.draw = count, draw
        self.held = list(range(min(size, count)))
        self.ahead = len(self.held)  # the first offset that is not in the buffer yet

    def pop(self) -> int:
        place = self.draw.randrange(len(self.held))
        leaving, newcomer = self.held[place], self.ahead
        if newcomer < self.count:
            self.ahead += 1
        else:
            newcomer = self.held.pop()
        if place < len(self.held):
            self.held[place] = newcomer
        return leaving
