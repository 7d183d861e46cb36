"""Convert inputs of a network to visible pixels."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def inputs_of(batch: dict) -> Sequence:
    """Return the images of a batch; with test-time augmentation, the last view, which ours does not flip."""
    views = isinstance(batch['data_samples'][0], (list, tuple))
    return batch['inputs'][-1] if views else batch['inputs']


def rgb_of(inputs: Tensor) -> np.ndarray:
    """Show ``inputs`` of a packed sample, (C, H, W), as (H, W, 3) uint8 in RGB; see ``displayed``."""
    return displayed(inputs.detach().cpu().movedim(0, -1).numpy())


def displayed(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels with any number of channels and any depth to RGB.

    Three or four channels are blue, green and red; of more, the first three are shown; of one or two, the
    first is shown in gray. Values from 0 to 255 are kept; if there are others, or none above 1, all are
    stretched to this range.

    Args:
        pixels: (H, W) or (H, W, C).

    Returns:
        np.ndarray: (H, W, 3) uint8 in RGB.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    shown = slice(3) if pixels.shape[2] > 4 else slice(2, None, -1) if pixels.shape[2] > 2 else slice(1)
    pixels = pixels[..., shown]
    if pixels.dtype != np.uint8:
        pixels = np.nan_to_num(pixels.astype(np.float32))
        low, high = float(pixels.min()), float(pixels.max())
        if low < high and (high > 255.5 or high <= 1):
            pixels = (pixels - low) * (255 / (high - low))
        pixels = pixels.clip(0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
