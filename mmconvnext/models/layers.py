"""The layers that ConvNeXt adds to torch.nn: its depthwise convolution, norms over channels, and GRN."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.depthwise_conv import depthwise_conv
from ..ops.grn import grn
from ..ops.layer_norm import layer_norm


class DepthwiseConv2d(nn.Conv2d):
    """Convolution of every channel by itself that keeps the size of the map: stride and padding are given.

    Args:
        channels: C.
        kernel_size: odd.
        dilation: distance of the kernel's taps in pixels.
        bias: whether there is one.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int, bias: bool):
        super().__init__(
            channels,
            channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=channels,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, C, H, W)."""
        return depthwise_conv(x, self.weight, self.bias, self.dilation[0])


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a feature map.

    ``forward`` takes (N, C, H, W); ``normalize`` takes (..., C), for code that already holds
    channels last. The result of ``forward`` keeps the channels-last memory it was computed in.
    """

    def normalize(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, eps=self.eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(x.movedim(1, -1)).movedim(-1, 1)


class RMSNorm2d(nn.RMSNorm):
    """Like ``LayerNorm2d`` without mean and bias: x / sqrt(mean(x^2) + eps) * weight."""

    def normalize(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(x.movedim(1, -1)).movedim(-1, 1)


class SimpleNorm2d(RMSNorm2d):
    """Like ``RMSNorm2d`` with the unbiased variance for the mean square (timm's ``SimpleNorm``).

    The published zepto "rms" weights were trained with it.
    """

    def normalize(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.var(dim=-1, keepdim=True) + self.eps) * self.weight


NORMS = {'LN2d': LayerNorm2d, 'RMSNorm2d': RMSNorm2d, 'SimpleNorm2d': SimpleNorm2d}


def build_norm(cfg: dict, channels: int) -> nn.Module:
    """A norm over ``channels`` from ``dict(type=..., eps=..., requires_grad=True)``.

    Raises:
        ValueError: for a type outside ``NORMS``.
    """
    kwargs = dict(cfg)
    name = kwargs.pop('type', None)
    if name not in NORMS:
        raise ValueError(f'norm_cfg has type {name!r}; choose from {", ".join(NORMS)}')
    requires_grad = kwargs.pop('requires_grad', True)
    return NORMS[name](channels, **kwargs).requires_grad_(requires_grad)


class GRN(nn.Module):
    """Global response normalisation (ConvNeXt V2, section 3.3, algorithm 1), channels last.

    Args:
        channels: C, the number of channels normalised against each other.
        eps: added to the mean response; 1e-6 as in the official ``models/utils.py``.
    """

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, H, W, C) -> (N, H, W, C)."""
        return grn(x, self.gamma, self.beta, eps=self.eps)
