"""LayerNorm over the channels of a channels-last map (arXiv:1607.06450)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import use_triton


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float) -> Tensor:
    """Compute (x - mean) / sqrt(variance + eps) * weight + bias over the last axis.

    Under autocast on CUDA, plain PyTorch returns float32, which the next linear layer casts; the kernel
    computes in float32 and casts its output.

    Args:
        x: (..., C).
        weight: (C,) or None for ones.
        bias: (C,) or None for zeros.
        eps: added to the variance.

    Returns:
        (..., C).
    """
    if weight is not None and bias is not None and use_triton(x):
        from .triton import layer_norm as kernels

        return kernels.layer_norm(x, weight, bias, eps)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def normalize(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``layer_norm`` without gradients, and the mean and 1 / standard deviation of each row."""
    if use_triton(x):
        from .triton import layer_norm as kernels

        return kernels.normalize(x, weight, bias, eps)
    return torch.native_layer_norm(x.to(weight.dtype), x.shape[-1:], weight, bias, eps)


def normalize_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias."""
    if use_triton(x):
        from .triton import layer_norm as kernels

        return kernels.normalize_backward(dy, x, weight, mean, rstd)
    dy, x = dy.to(weight.dtype), x.to(weight.dtype)
    return torch.ops.aten.native_layer_norm_backward(
        dy, x, x.shape[-1:], mean, rstd, weight, bias, [True, True, True]
    )
