"""oneDNN layers for inference on a CPU, with weights packed once into oneDNN's own layout.

They call the operators that PyTorch's compiler calls, which fuse an activation or an addition. Packed
weights can be neither trained, moved nor copied.
"""

import torch
from torch import Tensor, nn

from .block_mlp import ROWS

ONEDNN = torch.ops.mkldnn


def onednn_computes(dtype: torch.dtype) -> bool:
    """Return whether oneDNN supports matrix products with weights of this dtype on this machine."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ONEDNN._is_mkldnn_bf16_supported())


class PackedLinear:
    """Linear layer for inference; on Zen 3, faster than BLAS for few rows and as fast for many.

    Args:
        weight: (out, in).
        bias: (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = ONEDNN._reorder_linear_weight(weight.contiguous(), ROWS), bias

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (rows, in) to (rows, out)."""
        return ONEDNN._linear_pointwise(x, self.weight, self.bias, 'none', [], '')

    def with_gelu(self, x: Tensor, approximate: str) -> Tensor:
        """Map x (rows, in) to (rows, out), followed by GELU."""
        return ONEDNN._linear_pointwise(x, self.weight, self.bias, 'gelu', [], approximate)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add the output for x (rows, in) to residual (rows, out)."""
        return ONEDNN._linear_pointwise.binary(x, residual, self.weight, self.bias, 'add')


class PackedConv2d(nn.Module):
    """Depthwise or grouped convolution for inference.

    Other convolutions are not supported, because the layout of their packed weights depends on the size of
    the map.

    Args:
        conv: convolution with numeric padding.
        dtype: dtype of the computation.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.weight = ONEDNN._reorder_convolution_weight(conv.weight.detach().to(dtype), *self.geometry)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to (N, C, H, W)."""
        return ONEDNN._convolution_pointwise(x, self.weight, self.bias, *self.geometry, 'none', [], '')
