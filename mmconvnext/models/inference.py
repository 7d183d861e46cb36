"""ConvNeXt for inference, with folded weights and fewer operations."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from ..ops.inference_mlp import InferenceMLP
from ..ops.onednn import PackedConv2d, onednn_computes
from .block import GRN, LayerNorm2d
from .fusion import rows_of

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}


@contextmanager
def optimized(model: nn.Module, dtype: str) -> Iterator[None]:
    """Context manager in which each ConvNeXt of a model runs its inference form; weights are not changed.

    Args:
        model: classifier, detector or segmenter.
        dtype: a key of ``DTYPES``.
    """
    backbones = [module for module in model.modules() if hasattr(module, 'optimize_for_inference')]
    for backbone in backbones:
        backbone.forward = backbone.optimize_for_inference(DTYPES[dtype]).forward
    try:
        yield
    finally:
        for backbone in backbones:
            del backbone.forward  # the attribute of the instance, so that the method applies again


class InferenceConvNeXt(nn.Module):
    """Copy of a ``ConvNeXt`` for inference, with folded blocks.

    Args:
        backbone: network to copy.
        dtype: dtype of the computation; outputs have the dtype of the input.
    """

    def __init__(self, backbone: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        network = deepcopy(backbone).eval().requires_grad_(False)
        stages = [
            nn.Sequential(*(InferenceBlock(fold(block), dtype) for block in stage))
            for stage in network.stages
        ]
        network.stages = nn.ModuleList(stages)
        self.network = network.to(dtype=dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the same outputs as ``ConvNeXt.forward``."""
        outputs = self.network(x.to(dtype=self.dtype, memory_format=torch.channels_last))
        return tuple(output.to(x.dtype) for output in outputs)


class InferenceBlock(nn.Module):
    """Folded ``ConvNeXtBlock`` for inference."""

    def __init__(self, block: nn.Module, dtype: torch.dtype):
        super().__init__()
        conv = block.depthwise_conv
        packs = conv.weight.is_cpu and onednn_computes(dtype)
        self.depthwise_conv = PackedConv2d(conv, dtype) if packs else conv
        (weight1, bias1), (weight2, bias2) = (
            (linear.weight.flatten(1).to(dtype), linear.bias.to(dtype))
            for linear in (block.pointwise_conv1, block.pointwise_conv2)
        )
        response = block.grn and Response(block.grn)
        self.mlp = InferenceMLP(block.norm.normalize, weight1, bias1, block.act, response, weight2, bias2)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to (N, C, H, W); x may be overwritten if it is in channels-last format."""
        rows = self.mlp(rows_of(self.depthwise_conv(x)), rows_of(x))
        return rows.transpose(1, 2).unflatten(2, x.shape[2:])


class Response(nn.Module):
    """GRN without its shift, in place."""

    def __init__(self, grn: GRN):
        super().__init__()
        self.gamma, self.eps = grn.gamma, grn.eps

    def forward(self, x: Tensor) -> Tensor:
        """Change x (N, rows, C) in place and return it."""
        response = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        relative = response / (response.mean(dim=-1, keepdim=True) + self.eps)
        return x.mul_(torch.addcmul(torch.ones_like(relative), self.gamma, relative))


@torch.no_grad()
def fold(block: nn.Module) -> nn.Module:
    """Fold a ``ConvNeXtBlock`` that will no longer be trained, in place.

    LayerNorm's affine parameters are folded into the first linear layer, and GRN's shift and the layer scale
    into the second, in double precision. All of them are linear, so the output only changes by rounding.
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
    """Return weight (out, in) and bias (out,) of a linear layer or 1x1 convolution, in float64."""
    weight = linear.weight.flatten(1).double()
    return weight, weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.double()


def set_linear(linear: nn.Module, weight: Tensor, bias: Tensor) -> None:
    old = linear.weight
    linear.weight = nn.Parameter(weight.view(old.shape).to(old), requires_grad=False)
    linear.bias = nn.Parameter(bias.to(old), requires_grad=False)
