"""Keep or release freed memory, bound what pictures take, and report missing memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local

from .errors import UserError

# Constants of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# In bytes; the second is the maximum of older versions.
THRESHOLDS = (2**31 - 1, 2**25)
MAX_PIXELS = 64_000_000  # of one picture, and of all that are decoded at the same time
# Behind a larger picture its memory goes back to the system: glibc would keep as much for every thread.
MAX_PIXELS_KEPT = 16_000_000


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors for the next ones, instead of giving it back to the system.

    On a CPU, the memory pages of every large temporary tensor are otherwise allocated anew: 90,000 page
    faults per batch of eight images in timm's ConvNeXt-T, and 1.15 times the time on two AVX2 cores. All
    tools call this function. Call it once at the start of your own program; forked processes inherit the
    setting.

    Returns:
        Whether memory is kept now. This needs glibc, and the environment variables ``MALLOC_TRIM_THRESHOLD_``
        and ``MALLOC_MMAP_THRESHOLD_`` take precedence.
    """
    if any(f'MALLOC_{name}_THRESHOLD_' in os.environ for name in ('TRIM', 'MMAP')):
        return False
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and all(
        any(mallopt(option, threshold) == 1 for threshold in THRESHOLDS)
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD)
    )


def give_back_freed_memory() -> None:
    """Return the memory that glibc keeps for each thread to the system; without glibc, do nothing."""
    if sys.platform.startswith('linux') and (trim := getattr(ctypes.CDLL(None), 'malloc_trim', None)):
        trim(0)


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


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a GPU, PyTorch's CPU allocator or Python ran out of memory."""
    # Compared by name, because importing PyTorch takes seconds and --help does not need it.
    if isinstance(error, MemoryError) or type(error).__name__ == 'OutOfMemoryError':
        return True
    words = 'DefaultCPUAllocator', 'bad_alloc'
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextmanager
def enough_memory(otherwise: str) -> Iterator[None]:
    """Raise UserError with this message if the block runs out of memory."""
    try:
        yield
    except Exception as error:  # GPUs, allocators and Python have a type each, see above
        if not is_out_of_memory(error):
            raise
        raise UserError(otherwise) from error
