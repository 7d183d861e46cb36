"""Block and grid sizes that the kernels share."""

import torch

# Programs per multiprocessor of a kernel that sums: enough to hide the memory latency.
PROGRAMS_PER_SM = 4


def channel_block(channels: int) -> int:
    """Return the channels per block: 64 (128 bytes in bf16), or 32 if the last block would be half empty."""
    return 32 if 0 < channels % 64 <= 32 else 64


def summing_programs(device: torch.device, tiles: int, columns: int = 1) -> int:
    """Return the number of partial sums for the tiles of each column.

    It is the same in every run, so that sums are reproducible bit for bit. On a CPU, where the kernels are
    interpreted, two are enough.
    """
    if device.type != 'cuda':
        return min(tiles, 2)
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(tiles, PROGRAMS_PER_SM * multiprocessors // columns))
