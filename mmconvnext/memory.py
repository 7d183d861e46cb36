"""Keep or release freed memory, and report missing memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import UserError

# Constants of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# In bytes; the second is the maximum of older versions.
THRESHOLDS = (2**31 - 1, 2**25)


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
