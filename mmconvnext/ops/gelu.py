"""Exact GELU (arXiv:1606.08415) of the hidden values, and its backward pass for an MLP that keeps only z."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import use_triton


def gelu(z: Tensor) -> Tensor:
    """h = z * Phi(z), like z, with Phi the distribution of the standard normal."""
    if use_triton(z):
        from .triton import gelu as kernels

        return kernels.gelu(z)
    return F.gelu(z)


def gelu_backward(z: Tensor, dh: Tensor) -> tuple[Tensor, Tensor]:
    """h = gelu(z) again and dz = dh * (Phi(z) + z * phi(z)), both like z."""
    if use_triton(z):
        from .triton import gelu as kernels

        return kernels.gelu_backward(z, dh)
    return F.gelu(z), torch.ops.aten.gelu_backward(dh, z)
