"""Depthwise convolution that keeps the size of the map.

Its gradients on a CPU are depthwise convolutions as well. That of the weight takes the image for the
input and the gradient for the kernel. Small maps gain by it, twice the speed with AVX2, little with AVX-512:
``tools/benchmarks/compare.py --arch atto --mode training --batch 64 --size 32``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .backend import plain_torch, use_triton


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """Each channel convolved with its kernel, at stride 1, behind zeros on all sides.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, k, k) with k odd.
        bias: (C,) or None.
        dilation: distance of the kernel's taps in pixels.

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
    """The middle of the kernels, with the taps that meet more than padding on a map of this size.

    3 x 3 at least: on a single image torch convolves with less channel by channel.
    """
    for axis, extent in zip((2, 3), size, strict=True):
        side = weight.shape[axis]
        reach = min(side // 2, max(1, (extent - 1) // dilation))
        weight = weight.narrow(axis, side // 2 - reach, 2 * reach + 1)
    return weight


class DepthwiseConv(torch.autograd.Function):
    """``reference`` with the faster gradients; they can be differentiated in turn."""

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
    """(C, 1, *size) from x and grad (N, C, H, W).

    A tap's gradient is the product of grad with x moved by the tap's offset, summed over the map. For all
    taps that is x convolved with grad, a step of ``dilation`` between the offsets.
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
