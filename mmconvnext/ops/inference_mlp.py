"""Norm, MLP and residual of a block for inference, computed in parts that fit the cache."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .block_mlp import ROWS
from .onednn import PackedLinear, onednn_computes


class InferenceMLP(nn.Module):
    """Compute ``residual + linear2(grn(act(linear1(norm(x)))))``.

    The linear layers run in oneDNN on a CPU and in PyTorch on other devices. The weights can neither be
    trained nor moved to another device.

    Args:
        norm: maps (rows, C) to (rows, C).
        weight1: (hidden, C), float32 or bfloat16.
        bias1: (hidden,).
        act: activation.
        grn: changes (images, rows, hidden) in place; None for V1.
        weight2: (C, hidden).
        bias2: (C,).

    Raises:
        RuntimeError: x or residual is not contiguous.
    """

    def __init__(
        self,
        norm: Callable[[Tensor], Tensor],
        weight1: Tensor,
        bias1: Tensor,
        act: nn.Module,
        grn: Callable[[Tensor], Tensor] | None,
        weight2: Tensor,
        bias2: Tensor,
    ):
        super().__init__()
        self.norm, self.grn = norm, grn
        on_cpu = weight1.device.type == 'cpu'
        self.rows = ROWS if on_cpu else None
        pack = PackedLinear if on_cpu and onednn_computes(weight1.dtype) else Linear
        linear1 = pack(weight1, bias1)
        self.linear2 = pack(weight2, bias2)
        self.expand = expansion(linear1, act)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return the output (N, rows, C) for x and residual (N, rows, C); it may overwrite the residual."""
        shape = x.shape
        if self.grn is None:  # rows are independent
            x, residual = x.view(-1, 1, shape[2]), residual.view(-1, 1, shape[2])
        images, rows = x.shape[:2]
        step = images if self.rows is None else max(1, self.rows // rows)
        if images <= step:
            return self._compute(x, residual).view(shape)
        for start in range(0, images, step):
            part = slice(start, start + step)
            residual[part].copy_(self._compute(x[part], residual[part]).view(-1, rows, shape[2]))
        return residual.view(shape)

    def _compute(self, x: Tensor, residual: Tensor) -> Tensor:
        hidden = self.expand(self.norm(x.flatten(0, 1)))
        if self.grn is not None:
            self.grn(hidden.view(*x.shape[:2], -1))
        return self.linear2.plus(hidden, residual.flatten(0, 1))


class Linear:
    """Compute what ``PackedLinear`` computes with torch's own operators.

    Args:
        weight: (out, in).
        bias: (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight.t(), bias

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (rows, in) to (rows, out)."""
        return torch.addmm(self.bias, x, self.weight)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add the output for x (rows, in) to residual (rows, out)."""
        return self(x).add_(residual)


def expansion(linear: Linear | PackedLinear, act: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that computes ``act(linear(x))`` with as few passes over memory as possible."""
    if type(act) is not nn.GELU:
        return lambda x: act(linear(x))
    # Without AVX-512, oneDNN's fused GELU is slower than PyTorch's.
    if isinstance(linear, PackedLinear) and 'AVX512' in torch.backends.cpu.get_cpu_capability():
        return partial(linear.with_gelu, approximate=act.approximate)
    gelu_ = partial(torch.ops.aten.gelu_, approximate=act.approximate)
    return lambda x: gelu_(linear(x))
