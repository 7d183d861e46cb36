"""Pixels for people."""

import numpy as np
from torch import Tensor


def rgb_of(inputs: Tensor) -> np.ndarray:
    """Show ``inputs`` of a packed sample, (C, H, W), as (H, W, 3) uint8 in RGB; see ``displayed``."""
    return displayed(inputs.detach().cpu().movedim(0, -1).numpy())


def displayed(pixels: np.ndarray) -> np.ndarray:
    """Make pixels of any number of channels and any depth visible.

    Of three channels and more, the first three are taken for blue, green and red; of one or two, the first
    is shown in gray. Values of 0 to 255 are kept; if others occur, or none above 1, all are stretched from
    the least to the greatest.

    Args:
        pixels: (H, W) or (H, W, C).

    Returns:
        np.ndarray: (H, W, 3) uint8 in RGB.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    pixels = pixels[..., 2::-1] if pixels.shape[2] >= 3 else pixels[..., :1]
    if pixels.dtype != np.uint8:
        pixels = np.nan_to_num(pixels.astype(np.float32))
        low, high = float(pixels.min()), float(pixels.max())
        if low < high and (high > 255.5 or high <= 1):
            pixels = (pixels - low) * (255 / (high - low))
        pixels = pixels.clip(0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
