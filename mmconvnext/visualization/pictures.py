"""Pixels for people."""

import numpy as np
from torch import Tensor


def rgb_of(inputs: Tensor) -> np.ndarray:
    """``inputs`` of a packed sample, (3, H, W) in BGR or (1, H, W), 0 to 255 -> (H, W, 3) uint8 in RGB."""
    pixels = inputs.detach().cpu().float().clamp(0, 255).round().byte().movedim(0, -1).numpy()
    return np.ascontiguousarray(np.broadcast_to(pixels[..., ::-1], (*pixels.shape[:2], 3)))
