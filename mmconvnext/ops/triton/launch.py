"""Sizes of blocks and grids that the kernels share."""

import torch

# Programs of a grid that sums, for each multiprocessor: enough to hide the latency of memory.
PROGRAMS_PER_SM = 4


def channel_block(channels: int) -> int:
    """64 channels, a line of 128 bytes in bf16; 32 where the last block would be half empty (96)."""
    return 32 if 0 < channels % 64 <= 32 else 64


def summing_programs(device: torch.device, tiles: int, columns: int = 1) -> int:
    """Into how many partial sums the tiles of each column go.

    The same on every run, so that sums repeat bit for bit. A CPU interprets: there two are as good.
    """
    if device.type != 'cuda':
        return min(tiles, 2)
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(tiles, PROGRAMS_PER_SM * multiprocessors // columns))
