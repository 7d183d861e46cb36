"""Depthwise convolution with stride 1 and an output of the input's size.

On a CPU, both gradients are computed as depthwise convolutions: the gradient of the weight convolves the
input with the gradient of the output. For small maps this is twice as fast with AVX2 and slightly faster
with AVX-512: ``tools/benchmarks/compare.py --arch atto --mode training --batch 64 --size 32``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .backend import plain_torch, use_triton


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """Convolve each channel with its own kernel, with stride 1 and zero padding.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, k, k) with k odd.
        bias: (C,) or None.
        dilation: spacing between the elements of the kernel in pixels.

    Returns:
        (N, C, H, W).
    """
    if dilation == 1 and use_triton(x):
        from .triton import depthwise_conv as kernels

        return kernels.depthwise_conv(x, weight, bias)
    if plain_torch(x) or not x.is_cpu or not x.numel():
        return reference(x, weight, bias, dilation)
    if torch.is_autocast_enabled('cpu'):
        dtype = torch.get_autocast_dtype('cpu')
        x, weight, bias = (tensor if tensor is None else tensor.to(dtype) for tensor in (x, weight, bias))
    weight = reachable(weight, x.shape[2:], dilation)
    if torch.is_grad_enabled():
        return DepthwiseConv.apply(x, weight, bias, dilation)
    return reference(x, weight, bias, dilation)


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    padding = [dilation * (side // 2) for side in weight.shape[2:]]
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=weight.shape[0])


def reachable(weight: Tensor, size: torch.Size, dilation: int) -> Tensor:
    """Return the central part of the kernels, without elements that only meet padding on a map of this size.

    The result is at least 3 x 3, because PyTorch convolves a single image with a smaller kernel one channel
    at a time.
    """
    for axis, extent in zip((2, 3), size, strict=True):
        side = weight.shape[axis]
        reach = min(side // 2, max(1, (extent - 1) // dilation))
        weight = weight.narrow(axis, side // 2 - reach, 2 * reach + 1)
    return weight


class DepthwiseConv(torch.autograd.Function):
    """Compute ``reference`` with faster gradients, which can be differentiated again."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return reference(x, weight, bias, dilation)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            reference(grad, weight.flip(2, 3), None, ctx.dilation) if wants_x else None,
            weight_gradient(x, grad, weight.shape[2:], ctx.dilation) if wants_weight else None,
            grad.sum((0, 2, 3)) if wants_bias else None,
            None,
        )


def weight_gradient(x: Tensor, grad: Tensor, size: torch.Size, dilation: int) -> Tensor:
    """Return the gradient of the weight (C, 1, *size) from x and grad (N, C, H, W).

    The gradient of one kernel element is the sum over the map of grad times x shifted by the element's
    offset. For all elements together this is a convolution of x with grad, with stride ``dilation``.
    """
    images, channels, *extent = x.shape
    each = F.conv2d(
        x.reshape(1, images * channels, *extent),
        grad.reshape(images * channels, 1, *extent),
        padding=[dilation * (side // 2) for side in size],
        stride=dilation,
        groups=images * channels,
    )
    return each.view(images, channels, 1, *each.shape[2:]).sum(0)
