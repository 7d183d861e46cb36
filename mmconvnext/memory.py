"""Memory that is freed, and memory that there is not."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import UserError

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# In bytes; the second is the most that older versions take.
THRESHOLDS = (2**31 - 1, 2**25)


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors for the next ones, instead of giving it back to the system.

    On a CPU the pages of every large temporary tensor are otherwise made anew: 90,000 page faults a batch
    of eight images in timm's ConvNeXt-T, and 1.15 times the time on two AVX2 cores. The tools call it; a
    program of yours calls it once, early. Processes that are forked later have it, too.

    Returns:
        Whether it is so now: only with glibc, and not where ``MALLOC_TRIM_THRESHOLD_`` or
        ``MALLOC_MMAP_THRESHOLD_`` in the environment say otherwise.
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
    """Give the memory that glibc keeps for each thread back to the system; elsewhere do nothing."""
    if sys.platform.startswith('linux') and (trim := getattr(ctypes.CDLL(None), 'malloc_trim', None)):
        trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a GPU, PyTorch's allocator for CPUs or Python had no memory left."""
    # By name, since PyTorch takes seconds to import and tools answer --help without it.
    if isinstance(error, MemoryError) or type(error).__name__ == 'OutOfMemoryError':
        return True
    words = 'DefaultCPUAllocator', 'bad_alloc'
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextmanager
def enough_memory(otherwise: str) -> Iterator[None]:
    """Raise UserError with this message where memory runs out inside."""
    try:
        yield
    except Exception as error:  # GPUs, allocators and Python have a type each, see above
        if not is_out_of_memory(error):
            raise
        raise UserError(otherwise) from error
