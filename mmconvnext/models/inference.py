"""The network for inference: fewer operations, the same function."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from ..ops.inference_mlp import InferenceMLP
from .fusion import rows_of
from .layers import GRN, LayerNorm2d

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}


@contextmanager
def optimized(model: nn.Module, dtype: str) -> Iterator[None]:
    """Within, each ConvNeXt of a model computes in its form for inference; the weights stay as they are.

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
            del backbone.forward  # of the instance: that of the class shows again


class InferenceConvNeXt(nn.Module):
    """A copy of a ``ConvNeXt`` for inference, with its blocks folded.

    Args:
        backbone: is left as it is.
        dtype: of the computation; outputs have the dtype of the input.
    """

    def __init__(self, backbone: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        network = deepcopy(backbone).eval().requires_grad_(False)
        stages = [
            nn.Sequential(*(InferenceBlock(block, dtype) for block in stage)) for stage in network.stages
        ]
        network.stages = nn.ModuleList(stages)
        self.network = network.to(dtype=dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As of ``ConvNeXt``."""
        outputs = self.network(x.to(dtype=self.dtype, memory_format=torch.channels_last))
        return tuple(output.to(x.dtype) for output in outputs)


class InferenceBlock(nn.Module):
    """A ``ConvNeXtBlock`` whose scales and shifts are part of the weights of its linear layers.

    LayerNorm's affine is folded into the first, GRN's shift and the layer scale into the second, in
    double precision.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.depthwise_conv = block.depthwise_conv
        weight1, bias1, weight2, bias2 = (
            tensor.double()
            for linear in (block.pointwise_conv1, block.pointwise_conv2)
            for tensor in (linear.weight.flatten(1), bias_of(linear))
        )
        norm = block.norm
        if type(norm) is LayerNorm2d and norm.bias is not None:
            bias1 = bias1 + weight1 @ norm.bias.double()
            weight1 = weight1 * norm.weight.double()
            norm = LayerNorm2d(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
        if block.grn is not None:
            bias2 = bias2 + weight2 @ block.grn.beta.double()
        if block.gamma is not None:
            bias2 = bias2 * block.gamma.double()
            weight2 = weight2 * block.gamma.double()[:, None]
        self.mlp = InferenceMLP(
            norm.normalize,
            weight1.to(dtype),
            bias1.to(dtype),
            block.act,
            block.grn and Response(block.grn),
            weight2.to(dtype),
            bias2.to(dtype),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W), whose memory is used again if its channels come last there, -> (N, C, H, W)."""
        rows = self.mlp(rows_of(self.depthwise_conv(x)), rows_of(x))
        return rows.transpose(1, 2).unflatten(2, x.shape[2:])


def bias_of(linear: nn.Module) -> Tensor:
    return linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias


class Response(nn.Module):
    """GRN without its shift, in place."""

    def __init__(self, grn: GRN):
        super().__init__()
        self.gamma, self.eps = grn.gamma, grn.eps

    def forward(self, x: Tensor) -> Tensor:
        """x (N, rows, C)."""
        response = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        relative = response / (response.mean(dim=-1, keepdim=True) + self.eps)
        return x.mul_(torch.addcmul(torch.ones_like(relative), self.gamma, relative))
