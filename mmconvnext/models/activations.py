"""Activations by name: the vocabulary of ``hidden_act`` in transformers (5.23.0)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS


def build_activation(act_cfg: str | dict) -> nn.Module:
    """A new activation module for a name from ``ACTIVATIONS`` or a registry dict.

    Raises:
        ValueError: for an unknown name.
    """
    if not isinstance(act_cfg, str):
        return MODELS.build(act_cfg)
    if act_cfg not in ACTIVATIONS:
        raise ValueError(
            f'activation {act_cfg!r} is unknown; choose from {", ".join(ACTIVATIONS)}, '
            "or pass a registry dict as dict(type='GELU')"
        )
    return ACTIVATIONS[act_cfg]()


class Elementwise(nn.Module):
    """A formula without parameters as a module."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)

    def extra_repr(self) -> str:
        return self.formula.__name__


def quick_gelu(x: Tensor) -> Tensor:
    """The sigmoid approximation of GELU (arXiv:1606.08415, section 2)."""
    return x * torch.sigmoid(1.702 * x)


def clipped_gelu(x: Tensor) -> Tensor:
    """GELU limited to [-10, 10], for 8-bit quantisation (arXiv:2004.09602)."""
    return F.gelu(x).clip(-10, 10)


def laplace(x: Tensor) -> Tensor:
    """Distribution function of a Gaussian near squared ReLU (arXiv:2209.10655, section 3.2)."""
    mean, deviation = 0.707107, 0.282095
    return 0.5 * (1 + torch.erf((x - mean) / (deviation * 2**0.5)))


def squared_relu(x: Tensor) -> Tensor:
    """arXiv:2109.08668, section 4."""
    return F.relu(x).square()


def sqrt_softplus(x: Tensor) -> Tensor:
    return F.softplus(x).sqrt()


class XIELU(nn.Module):
    """Expanded integral of ELU (arXiv:2411.13010): trained slopes on either side of zero.

    Parameters and buffers are bfloat16, as in the published class, so that its state dicts fit.
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
