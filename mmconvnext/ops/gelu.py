"""The backward pass of GELU (arXiv:1606.08415) for an MLP that keeps only what the activation gets."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import use_triton


def gelu_backward(z: Tensor, dh: Tensor, approximate: str = 'none') -> tuple[Tensor, Tensor]:
    """h = gelu(z) again, and dz, both like z.

    Args:
        z: of any shape.
        dh: like z.
        approximate: ``none`` for z * Phi(z) with Phi the distribution of the standard normal, or ``tanh``.
    """
    if approximate == 'none' and use_triton(z):
        from .triton import gelu as kernels

        return kernels.gelu_backward(z, dh)
    return F.gelu(z, approximate=approximate), torch.ops.aten.gelu_backward(dh, z, approximate=approximate)
