"""Backward pass of GELU (arXiv:1606.08415) for an MLP that saves only the activation's input."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import use_triton


def gelu_backward(z: Tensor, dh: Tensor, approximate: str = 'none') -> tuple[Tensor, Tensor]:
    """Return h = gelu(z), recomputed, and the gradient dz; both have the shape of z.

    Args:
        z: input of the activation, of any shape.
        dh: gradient of h, with the shape of z.
        approximate: ``none`` for z * Phi(z), where Phi is the standard normal distribution function, or
            ``tanh``.
    """
    if approximate == 'none' and use_triton(z):
        from .triton import gelu as kernels

        return kernels.gelu_backward(z, dh)
    return F.gelu(z, approximate=approximate), torch.ops.aten.gelu_backward(dh, z, approximate=approximate)
