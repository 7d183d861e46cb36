"""Layers for inference on a CPU by oneDNN, with their weights packed once as it reads them.

torch's compiler calls these operators, too. They compute an activation or an addition on the way out. The
packed weights can neither be trained nor moved, nor copied.
"""

import torch
from torch import Tensor, nn

from .block_mlp import ROWS

ONEDNN = torch.ops.mkldnn


def onednn_computes(dtype: torch.dtype) -> bool:
    """Whether oneDNN has products for weights of this type here."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ONEDNN._is_mkldnn_bf16_supported())


class PackedLinear:
    """``nn.Linear`` for rows, faster than the BLAS on Zen 3 where they are few, as fast where they are many.

    Args:
        weight: (out, in).
        bias: (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = ONEDNN._reorder_linear_weight(weight.contiguous(), ROWS), bias

    def __call__(self, x: Tensor) -> Tensor:
        """x (rows, in) -> (rows, out)."""
        return ONEDNN._linear_pointwise(x, self.weight, self.bias, 'none', [], '')

    def with_gelu(self, x: Tensor, approximate: str) -> Tensor:
        """x (rows, in) -> (rows, out), through GELU."""
        return ONEDNN._linear_pointwise(x, self.weight, self.bias, 'gelu', [], approximate)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """x (rows, in) and residual (rows, out) -> (rows, out)."""
        return ONEDNN._linear_pointwise.binary(x, residual, self.weight, self.bias, 'add')


class PackedConv2d(nn.Module):
    """A convolution of channels one by one, or of groups of them.

    Not for convolutions of all channels: how their weights have to lie depends on the size of the map.

    Args:
        conv: with padding in numbers and a bias or none.
        dtype: of the computation.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.weight = ONEDNN._reorder_convolution_weight(conv.weight.detach().to(dtype), *self.geometry)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, C, H, W)."""
        return ONEDNN._convolution_pointwise(x, self.weight, self.bias, *self.geometry, 'none', [], '')
