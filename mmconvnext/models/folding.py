"""Blocks whose scales and shifts are part of their linear layers: fewer operations, the same function."""

import torch
from torch import Tensor, nn

from .layers import LayerNorm2d


@torch.no_grad()
def fold(block: nn.Module) -> nn.Module:
    """Fold a ``ConvNeXtBlock`` that will no longer be trained, in place.

    LayerNorm's affine goes into the first linear layer, GRN's shift and the layer scale into the second, in
    double precision. All are linear, so the function stays the same to rounding.
    """
    norm, linear1, linear2 = block.norm, block.pointwise_conv1, block.pointwise_conv2
    (weight1, bias1), (weight2, bias2) = map(in_double, (linear1, linear2))
    if type(norm) is LayerNorm2d and norm.bias is not None:
        bias1 = bias1 + weight1 @ norm.bias.double()
        weight1 = weight1 * norm.weight.double()
        block.norm = LayerNorm2d(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
    if block.grn is not None:
        bias2 = bias2 + weight2 @ block.grn.beta.double()
        block.grn.beta.zero_()
    if block.gamma is not None:
        bias2 = bias2 * block.gamma.double()
        weight2 = weight2 * block.gamma.double()[:, None]
        block.gamma = None
    set_linear(linear1, weight1, bias1)
    set_linear(linear2, weight2, bias2)
    return block


def in_double(linear: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,) of a linear layer or a 1x1 convolution."""
    weight = linear.weight.flatten(1).double()
    return weight, weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.double()


def set_linear(linear: nn.Module, weight: Tensor, bias: Tensor) -> None:
    old = linear.weight
    linear.weight = nn.Parameter(weight.view(old.shape).to(old), requires_grad=False)
    linear.bias = nn.Parameter(bias.to(old), requires_grad=False)
