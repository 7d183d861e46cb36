"""Global response normalisation (ConvNeXt V2, arXiv:2301.00808, section 3.3, algorithm 1)."""

import torch
from torch import Tensor

from .backend import use_triton


def grn(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float = 1e-6) -> Tensor:
    """x + gamma * (x * relative response) + beta.

    Args:
        x: (N, H, W, C).
        gamma: (C,).
        beta: (C,).
        eps: added to the mean response; 1e-6 as in the official ``models/utils.py``.

    Returns:
        (N, H, W, C); under autocast plain torch returns float32 on CUDA, the kernel x's type.
    """
    if use_triton(x):
        from .triton import grn as kernels

        return kernels.grn(x, gamma, beta, eps)
    response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)  # (N, 1, 1, C)
    relative = response / (response.mean(dim=-1, keepdim=True) + eps)
    return x + gamma * (x * relative) + beta
