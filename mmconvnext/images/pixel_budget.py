"""Limit the pixels that the threads of a process decode at the same time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local

from ..memory import give_back_freed_memory

MAX_PIXELS = 64_000_000  # of one picture, and of all that are decoded at the same time
# Behind a larger picture its memory goes back to the system: glibc would keep as much for every thread.
MAX_PIXELS_KEPT = 16_000_000


class PixelBudget:
    """Limits the pixels that the threads of a process decode at the same time, and thus their memory."""

    def __init__(self, pixels: int):
        self.pixels = self.free = pixels
        self.changed, self.thread = Condition(), local()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until the given number of pixels is available, and reserve them."""
        pixels = min(pixels, self.pixels)  # a larger picture is decoded alone
        with self.changed:
            self.changed.wait_for(lambda: self.free >= pixels)
            self.free -= pixels
        try:
            yield
        finally:
            if hasattr(self.thread, 'kept'):
                self.thread.kept += pixels
            else:
                self.release(pixels)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the pixels of a picture that is read in this block reserved until the block ends."""
        self.thread.kept = 0
        try:
            yield
        finally:
            pixels = self.thread.kept
            del self.thread.kept
            self.release(pixels)

    def release(self, pixels: int) -> None:
        if pixels > MAX_PIXELS_KEPT:
            give_back_freed_memory()
        with self.changed:
            self.free += pixels
            self.changed.notify_all()


budget = PixelBudget(MAX_PIXELS)
if hasattr(os, 'register_at_fork'):  # threads that reserved pixels do not exist in a forked worker
    os.register_at_fork(after_in_child=lambda: budget.__init__(MAX_PIXELS))
