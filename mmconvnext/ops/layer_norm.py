"""LayerNorm over the channels of a map that holds channels last (arXiv:1607.06450)."""

import torch.nn.functional as F
from torch import Tensor

from .backend import use_triton


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last axis.

    Under autocast on CUDA plain torch returns float32, which the next linear layer rounds; the kernel
    computes in float32 and rounds at once.

    Args:
        x: (..., C).
        weight: (C,).
        bias: (C,).
        eps: added to the variance.

    Returns:
        (..., C) like x.
    """
    if use_triton(x):
        from .triton import layer_norm as kernels

        return kernels.layer_norm(x, weight, bias, eps)
    return F.layer_norm(x, weight.shape, weight, bias, eps)
