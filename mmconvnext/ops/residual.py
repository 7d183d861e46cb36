"""The end of a block: layer scale (arXiv:2103.17239), drop path (arXiv:1603.09382) and the shortcut."""

from torch import Tensor

from .backend import use_triton


def residual(x: Tensor, y: Tensor, gamma: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
    """x + y * gamma * keep.

    Args:
        x: (N, H, W, C).
        y: (N, H, W, C).
        gamma: (C,), or None for ones.
        keep: (N,), 0 for an image whose block is dropped, else 1 / (1 - drop rate); None for ones.

    Returns:
        (N, H, W, C).
    """
    if use_triton(x):
        from .triton import residual as kernels

        return kernels.residual(x, y, gamma, keep)
    if gamma is not None:
        y = y * gamma
    if keep is not None:
        y = y * keep[:, None, None, None]
    return x + y
