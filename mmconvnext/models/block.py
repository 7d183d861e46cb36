"""ConvNeXt block in plain PyTorch, and its layers and activations that torch.nn does not have.

``fusion`` computes the same block with fewer passes over memory; ``inference`` does so with fixed weights.
"""

from functools import partial

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..ops.depthwise_conv import depthwise_conv
from ..ops.grn import grn
from ..ops.layer_norm import layer_norm
from ..registry import MODELS
from .masking import VisiblePatches
from .network import LAYER_NORM


class ConvNeXtBlock(BaseModule):
    """Residual block with a depthwise convolution, a norm and an MLP over channels.

    Args:
        channels: channels in and out.
        kernel_size: odd kernel size of the depthwise convolution.
        dilation: dilation of the depthwise convolution.
        mlp_ratio: ratio of hidden to outer channels of the MLP.
        conv_bias: whether the depthwise convolution has a bias.
        norm_cfg: see ``ConvNeXt``.
        act_cfg: see ``ConvNeXt``.
        linear_pw_conv: whether the MLP uses linear layers on (N, H, W, C) instead of 1x1 convolutions.
        use_grn: whether GRN follows the activation (V2).
        drop_path_rate: probability of skipping the block in training.
        layer_scale_init_value: initial value of the per-channel scale; 0 for no scale.
        with_cp: whether to recompute activations in the backward pass.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 7,
        dilation: int = 1,
        mlp_ratio: float = 4.0,
        conv_bias: bool = True,
        norm_cfg: dict = LAYER_NORM,
        act_cfg: dict | str = 'gelu',
        linear_pw_conv: bool = True,
        use_grn: bool = False,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        with_cp: bool = False,
    ):
        super().__init__()
        self.linear_pw_conv = linear_pw_conv
        self.with_cp = with_cp
        hidden = int(mlp_ratio * channels)
        pointwise = nn.Linear if linear_pw_conv else partial(nn.Conv2d, kernel_size=1)

        self.depthwise_conv = DepthwiseConv2d(channels, kernel_size, dilation, conv_bias)
        self.norm = build_norm(norm_cfg, channels)
        self.pointwise_conv1 = pointwise(channels, hidden)
        self.act = build_activation(act_cfg)
        self.grn = GRN(hidden) if use_grn else None
        self.pointwise_conv2 = pointwise(hidden, channels)
        self.gamma = (
            nn.Parameter(torch.full((channels,), float(layer_scale_init_value)))
            if layer_scale_init_value > 0
            else None
        )
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()

        # Linear layers and 1x1 convolutions are equivalent, and either loads the weights of the other.
        self.register_load_state_dict_pre_hook(shape_pointwise)

    def forward(self, x: Tensor, visible: VisiblePatches | None = None) -> Tensor:
        """Map x (N, C, H, W) to (N, C, H, W).

        With ``visible``, x consists of the visible patches of masked images; see ``masking``.
        """
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._forward, x, visible, use_reentrant=False)
        return self._forward(x, visible)

    def _forward(self, x: Tensor, visible: VisiblePatches | None) -> Tensor:
        return x + self.drop_path(self._mlp(self._convolve(x, visible)))

    def _convolve(self, x: Tensor, visible: VisiblePatches | None) -> Tensor:
        if visible is None:
            return self.depthwise_conv(x)
        return visible.gather(self.depthwise_conv(visible.scatter(x)))

    def _mlp(self, x: Tensor) -> Tensor:
        return self._linear_mlp(x) if self.linear_pw_conv else self._conv_mlp(x)

    def _linear_mlp(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)  # NCHW -> NHWC
        x = self.act(self.pointwise_conv1(self.norm.normalize(x)))
        if self.grn is not None:
            x = self.grn(x)
        x = self.pointwise_conv2(x)
        if self.gamma is not None:
            x = x * self.gamma
        return x.movedim(-1, 1)  # NHWC -> NCHW

    def _conv_mlp(self, x: Tensor) -> Tensor:
        x = self.act(self.pointwise_conv1(self.norm(x)))
        if self.grn is not None:
            x = self.grn(x.movedim(1, -1)).movedim(-1, 1)
        x = self.pointwise_conv2(x)
        if self.gamma is not None:
            x = x * self.gamma[:, None, None]
        return x


def shape_pointwise(block: ConvNeXtBlock, state_dict: dict, prefix: str, *_) -> None:
    """Reshape loaded pointwise weights for this block: (out, in) or (out, in, 1, 1)."""
    for name in ('pointwise_conv1', 'pointwise_conv2'):
        key, wanted = f'{prefix}{name}.weight', getattr(block, name).weight
        loaded = state_dict.get(key)
        if loaded is not None and loaded.flatten(1).shape == wanted.flatten(1).shape:
            state_dict[key] = loaded.view(wanted.shape)


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with an output of the input's size.

    Equivalent to ``nn.Conv2d`` with ``groups=channels``, with faster gradients on a CPU.

    Args:
        channels: number of channels.
        kernel_size: odd kernel size.
        dilation: spacing between the elements of the kernel in pixels.
        bias: whether to add a bias.
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
        """Map x (N, C, H, W) to (N, C, H, W)."""
        return depthwise_conv(x, self.weight, self.bias, self.dilation[0])


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels: (x - mean) / sqrt(variance + eps) * weight + bias at each pixel of a map.

    ``forward`` takes (N, C, H, W); ``normalize`` takes (..., C), for code that already has channels last. The
    result of ``forward`` is in channels-last memory format.
    """

    def normalize(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, eps=self.eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(x.movedim(1, -1)).movedim(-1, 1)


class RMSNorm2d(nn.RMSNorm):
    """``LayerNorm2d`` without mean and bias: x / sqrt(mean(x^2) + eps) * weight."""

    def normalize(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(x.movedim(1, -1)).movedim(-1, 1)


class SimpleNorm2d(RMSNorm2d):
    """``RMSNorm2d`` with the unbiased variance instead of the mean square (timm's ``SimpleNorm``).

    The published zepto "rms" weights were trained with it.
    """

    def normalize(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.var(dim=-1, keepdim=True) + self.eps) * self.weight


NORMS = {'LN2d': LayerNorm2d, 'RMSNorm2d': RMSNorm2d, 'SimpleNorm2d': SimpleNorm2d}


def build_norm(cfg: dict, channels: int) -> nn.Module:
    """Build a norm over ``channels`` from ``dict(type=..., eps=..., requires_grad=True)``.

    Raises:
        ValueError: the type is not in ``NORMS``.
    """
    kwargs = dict(cfg)
    name = kwargs.pop('type', None)
    if name not in NORMS:
        raise ValueError(f'norm_cfg has type {name!r}; choose from {", ".join(NORMS)}')
    requires_grad = kwargs.pop('requires_grad', True)
    return NORMS[name](channels, **kwargs).requires_grad_(requires_grad)


class GRN(nn.Module):
    """Global response normalization of channels-last maps (ConvNeXt V2, section 3.3, algorithm 1).

    Returns ``x + gamma * (x * r / (r.mean(-1, keepdim=True) + eps)) + beta`` with each channel's norm over
    the map, ``r = x.norm(dim=(1, 2), keepdim=True)``.

    Args:
        channels: number of channels.
        eps: added to the mean response; 1e-6 as in the official ``models/utils.py``.
    """

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) to (N, H, W, C)."""
        return grn(x, self.gamma, self.beta, eps=self.eps)


def build_activation(act_cfg: str | dict) -> nn.Module:
    """Return a new activation module for a name in ``ACTIVATIONS`` or a registry dict.

    Raises:
        ValueError: the name is unknown.
    """
    if not isinstance(act_cfg, str):
        return MODELS.build(act_cfg)
    if act_cfg not in ACTIVATIONS:
        raise ValueError(
            f'activation {act_cfg!r} is unknown; choose from {", ".join(ACTIVATIONS)}, '
            "or pass a registry dict such as dict(type='GELU')"
        )
    return ACTIVATIONS[act_cfg]()


class Elementwise(nn.Module):
    """Module for a function without parameters."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)

    def extra_repr(self) -> str:
        return self.formula.__name__


def quick_gelu(x: Tensor) -> Tensor:
    """Sigmoid approximation of GELU (arXiv:1606.08415, section 2)."""
    return x * torch.sigmoid(1.702 * x)


def clipped_gelu(x: Tensor) -> Tensor:
    """GELU clipped to [-10, 10], for 8-bit quantization (arXiv:2004.09602)."""
    return F.gelu(x).clip(-10, 10)


def laplace(x: Tensor) -> Tensor:
    """Gaussian distribution function that approximates squared ReLU (arXiv:2209.10655, section 3.2)."""
    mean, deviation = 0.707107, 0.282095
    return 0.5 * (1 + torch.erf((x - mean) / (deviation * 2**0.5)))


def squared_relu(x: Tensor) -> Tensor:
    """Squared ReLU (arXiv:2109.08668, section 4)."""
    return F.relu(x).square()


def sqrt_softplus(x: Tensor) -> Tensor:
    return F.softplus(x).sqrt()


class XIELU(nn.Module):
    """Expanded integral of ELU (arXiv:2411.13010), with trainable slopes on both sides of zero.

    Parameters and buffers are bfloat16 as in the published class, so that its state dicts can be loaded.
    """

    def __init__(self):
        super().__init__()
        beta = 0.5
        self.alpha_p = nn.Parameter(inverse_softplus(0.8).reshape(1))
        self.alpha_n = nn.Parameter(inverse_softplus(0.8 - beta).reshape(1))
        self.register_buffer('beta', torch.tensor(beta, dtype=torch.bfloat16))
        self.register_buffer('eps', torch.tensor(-1e-6, dtype=torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        positive = F.softplus(self.alpha_p) * x * x
        negative = (self.beta + F.softplus(self.alpha_n)) * (torch.expm1(torch.min(x, self.eps)) - x)
        return torch.where(x > 0, positive, negative) + self.beta * x


def inverse_softplus(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.bfloat16).expm1().log()


def _tanh_gelu() -> nn.Module:
    return nn.GELU(approximate='tanh')


# Values of ``hidden_act`` in transformers (5.23.0).
ACTIVATIONS = {
    'gelu': nn.GELU,
    'gelu_10': lambda: Elementwise(clipped_gelu),
    'gelu_accurate': _tanh_gelu,
    'gelu_fast': _tanh_gelu,
    'gelu_new': _tanh_gelu,
    'gelu_python': nn.GELU,
    'gelu_python_tanh': _tanh_gelu,
    'gelu_pytorch_tanh': _tanh_gelu,
    'hardswish': nn.Hardswish,
    'laplace': lambda: Elementwise(laplace),
    'leaky_relu': nn.LeakyReLU,
    'linear': nn.Identity,
    'mish': nn.Mish,
    'prelu': nn.PReLU,
    'quick_gelu': lambda: Elementwise(quick_gelu),
    'relu': nn.ReLU,
    'relu2': lambda: Elementwise(squared_relu),
    'relu6': nn.ReLU6,
    'sigmoid': nn.Sigmoid,
    'silu': nn.SiLU,
    'sqrtsoftplus': lambda: Elementwise(sqrt_softplus),
    'swish': nn.SiLU,
    'tanh': nn.Tanh,
    'xielu': XIELU,
}
