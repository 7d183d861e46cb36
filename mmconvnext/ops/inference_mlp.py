"""The MLP of a block for inference, with its norm and the residual, in parts that stay in the cache."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .block_mlp import ROWS

# torch's compiler calls these operators, too. They multiply by weights in a layout of oneDNN's own, and
# compute activation and addition on the way out.
ONEDNN = torch.ops.mkldnn


class InferenceMLP(nn.Module):
    """``residual += linear2(grn(act(linear1(norm(x)))))``.

    By oneDNN on a CPU, whose weights lie as it reads them: faster than MKL on Zen 3 where rows are few, and
    as fast where they are many. By torch on other devices. The weights can neither be trained nor
    moved.

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
        self.norm, self.act, self.grn = norm, act, grn
        self.gelu = act.approximate if type(act) is nn.GELU else None
        # Its own GELU is the slower one without AVX-512.
        self.fuses_gelu = self.gelu is not None and 'AVX512' in torch.backends.cpu.get_cpu_capability()
        self.bias1, self.bias2 = bias1, bias2
        self.on_cpu = weight1.device.type == 'cpu'
        self.by_onednn = self.on_cpu and onednn_multiplies(weight1.dtype)
        # An opaque tensor is no buffer: it cannot be copied.
        self.weight1, self.weight2 = (
            ONEDNN._reorder_linear_weight(weight.contiguous(), ROWS) if self.by_onednn else weight
            for weight in (weight1, weight2)
        )

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x (N, rows, C) is added to the residual (N, rows, C), which is returned."""
        if self.grn is None:  # rows know nothing of each other
            x, out = (rows.view(-1, 1, rows.shape[-1]) for rows in (x, residual))
        else:
            out = residual
        rows = ROWS if self.on_cpu else x[..., 0].numel()
        images = max(1, rows // x.shape[1])
        for part in zip(x.split(images), out.split(images), strict=True):
            self._add(*part)
        return residual

    def _add(self, x: Tensor, residual: Tensor) -> None:
        images = len(x)
        x, residual = (rows.flatten(0, 1) for rows in (x, residual))
        hidden = self._linear1(self.norm(x))
        if self.grn is not None:
            self.grn(hidden.view(images, -1, hidden.shape[-1]))
        if self.by_onednn:
            residual.copy_(ONEDNN._linear_pointwise.binary(hidden, residual, self.weight2, self.bias2, 'add'))
        else:
            residual.addmm_(hidden, self.weight2.t()).add_(self.bias2)

    def _linear1(self, x: Tensor) -> Tensor:
        """With the activation."""
        if self.by_onednn and self.fuses_gelu:
            return ONEDNN._linear_pointwise(x, self.weight1, self.bias1, 'gelu', [], self.gelu)
        if self.by_onednn:
            hidden = ONEDNN._linear_pointwise(x, self.weight1, self.bias1, 'none', [], '')
        else:
            hidden = torch.addmm(self.bias1, x, self.weight1.t())
        if self.gelu is not None:
            return torch.ops.aten.gelu_(hidden, approximate=self.gelu)
        return self.act(hidden)


def onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN has a matrix product for weights of this type here."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ONEDNN._is_mkldnn_bf16_supported())
