"""Which samples of an epoch does a worker give, and in which order?"""

import random
from typing import NamedTuple


class Part(NamedTuple):
    """What one worker of one process gives in an epoch.

    Attributes:
        start: place of its first sample in the epoch's order.
        samples: from there on, each is given once.
        slots: how many it gives: ``samples``, and perhaps the one behind them to make processes equal.
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
    """The part of a worker, such that no sample is given twice and every process gives as many.

    A process has one range of the epoch's order. Of its batches 0, 1, ... worker w serves w, w +
    workers, ..., as DataLoader asks in turn, from a range of its own.

    In training, a process gives a multiple of so many whole batches; what is left over is left out of this
    epoch. In evaluation every sample is given; where processes differ by one, the shorter ones add a
    sample as their very last, where mmengine, which takes results from the processes in turn, cuts it off.
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
    """Offsets 0, 1, ... ``count - 1`` in a random order, each at most ``size`` places ahead of its turn.

    The order depends on the generator alone, so going on in its middle needs no data.
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
