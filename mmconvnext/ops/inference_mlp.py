"""The MLP of a block for inference, with its norm and the residual, in parts that stay in the cache."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .block_mlp import ROWS
from .onednn import PackedLinear, onednn_computes


class InferenceMLP(nn.Module):
    """``residual + linear2(grn(act(linear1(norm(x)))))``.

    By oneDNN on a CPU, by torch on other devices. The weights can neither be trained nor moved.

    Args:
        norm: from (rows, C) to (rows, C).
        weight1: (hidden, C), float32 or bfloat16.
        bias1: (hidden,).
        act: activation.
        grn: changes (images, rows, hidden) in place; or None.
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
        """x and residual, whose memory may be used for the result, -> all (N, rows, C)."""
        shape = x.shape
        if self.grn is None:  # rows know nothing of each other
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
        """x (rows, in) -> (rows, out)."""
        return torch.addmm(self.bias, x, self.weight)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """x (rows, in) and residual (rows, out) -> (rows, out)."""
        return self(x).add_(residual)


def expansion(linear: Linear | PackedLinear, act: nn.Module) -> Callable[[Tensor], Tensor]:
    """``act(linear(x))``, with as few passes through memory as there can be."""
    if type(act) is not nn.GELU:
        return lambda x: act(linear(x))
    # Without AVX-512 oneDNN's own GELU is the slower one.
    if isinstance(linear, PackedLinear) and 'AVX512' in torch.backends.cpu.get_cpu_capability():
        return partial(linear.with_gelu, approximate=act.approximate)
    gelu_ = partial(torch.ops.aten.gelu_, approximate=act.approximate)
    return lambda x: gelu_(linear(x))
