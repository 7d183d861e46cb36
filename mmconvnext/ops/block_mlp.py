"""Fused norm, MLP, layer scale and residual of a block, with half the memory of the separate operations.

The forward pass saves only the input and the hidden values before the activation. The backward pass
recomputes norm and activation, which costs little compared with the matrix products. Images dropped by
stochastic depth are not computed. On a CPU, both passes process the batch in parts that fit the cache.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .gelu import gelu_backward
from .grn import grn, respond, respond_backward, summing
from .layer_norm import normalize, normalize_backward

# Rows per part on a CPU: few enough for their values to stay in the cache until the next operation reads
# them, and enough for an efficient matrix product.
ROWS = 2048


class Weights(NamedTuple):
    """Tensors of the norm, the two linear layers, GRN (or None) and layer scale (or None).

    Shapes: ``w1`` (hidden, C), ``w2`` (C, hidden); ``b1``, ``grn_gamma``, ``grn_beta`` (hidden,); the
    others (C,).
    """

    norm_weight: Tensor
    norm_bias: Tensor
    w1: Tensor
    b1: Tensor
    grn_gamma: Tensor | None
    grn_beta: Tensor | None
    w2: Tensor
    b2: Tensor
    gamma: Tensor | None


class Constants(NamedTuple):
    """Constants that the fused MLP needs besides its tensors.

    Attributes:
        norm_eps: epsilon of LayerNorm.
        gelu: ``none`` for the exact function, or ``tanh`` for the approximation.
        grn_eps: epsilon of GRN.
        scale: factor of the residual branch besides layer scale: 1 / (1 - drop path rate).
    """

    norm_eps: float
    gelu: str
    grn_eps: float = 0.0
    scale: float = 1.0

    def factor(self, gamma: Tensor | None) -> Tensor | float:
        """Return the product of both scales."""
        return self.scale if gamma is None else gamma * self.scale


def reference(
    x: Tensor, residual: Tensor, kept: Tensor | None, constants: Constants, weights: Weights
) -> Tensor:
    """Compute residual + scale * gamma * linear2(grn(gelu(linear1(layer_norm(x))))).

    Args:
        x: (N, rows, C).
        residual: (N, rows, C).
        kept: indices of the images that stochastic depth keeps; None for all.
        constants: scales and settings of the operations.
        weights: parameters of the layers.

    Returns:
        (N, rows, C).
    """
    w = weights
    y = x if kept is None else x[kept]
    y = y.to(w.norm_weight.dtype)
    y = F.layer_norm(y, w.norm_bias.shape, w.norm_weight, w.norm_bias, constants.norm_eps).to(w.w1.dtype)
    y = F.gelu(F.linear(y, w.w1, w.b1), approximate=constants.gelu)
    if w.grn_gamma is not None:
        y = grn(y, w.grn_gamma, w.grn_beta, eps=constants.grn_eps).to(w.w2.dtype)
    y = F.linear(y, w.w2, w.b2) * constants.factor(w.gamma)
    if kept is None:
        return residual + y
    return residual.index_add(0, kept, y.to(residual.dtype))


def block_mlp(
    x: Tensor, residual: Tensor, kept: Tensor | None, constants: Constants, weights: Weights
) -> Tensor:
    """Compute ``reference`` for contiguous x and residual with less memory."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        lower = {name: getattr(weights, name).to(dtype) for name in ('w1', 'b1', 'w2', 'b2')}
        weights = weights._replace(**lower)
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled():
            return BlockMLP.apply(x, residual, kept, constants, *weights)
        return forward(x, residual, kept, constants, weights, None)


def forward(
    x: Tensor,
    residual: Tensor,
    kept: Tensor | None,
    constants: Constants,
    w: Weights,
    remembered: list[Tensor] | None,
) -> Tensor:
    """Compute ``reference`` in parts; append the input of each activation to ``remembered``, if given."""
    parts = Parts(x, kept, w)
    base = parts.take(residual)
    out = torch.empty_like(base, dtype=torch.result_type(base, w.b2 if w.gamma is None else w.gamma))
    for x_part, base_part, out_part in parts.of(parts.take(x), base, out):
        y, hidden = forward_part(x_part, constants, w)
        torch.add(base_part, y * constants.factor(w.gamma), out=out_part)
        if remembered is not None:
            remembered.append(hidden)
    return out if kept is None else residual.to(out.dtype).index_copy(0, kept, out)


class BlockMLP(torch.autograd.Function):
    """Compute ``reference`` and its gradients in parts."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        residual: Tensor,
        kept: Tensor | None,
        constants: Constants,
        *weights: Tensor | None,
    ) -> Tensor:
        remembered = []
        out = forward(x, residual, kept, constants, Weights(*weights), remembered)
        ctx.constants = constants
        ctx.save_for_backward(x, kept, *weights, *remembered)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, *tensors = ctx.saved_tensors
        w, remembered = Weights(*tensors[: len(Weights._fields)]), tensors[len(Weights._fields) :]
        wanted = (ctx.needs_input_grad[0], *ctx.needs_input_grad[4:])
        if torch.is_grad_enabled():  # the gradients are to be differentiated in turn
            of_x, *of_weights = differentiable(grad, x, kept, ctx.constants, w, wanted)
            return of_x, grad, None, None, *of_weights
        parts = Parts(x, kept, w)
        totals = Totals(w, wanted[1:])
        of_x = torch.empty_like(parts.take(x))
        of_parts = parts.of(parts.take(x), parts.take(grad.contiguous()), of_x)
        for (x_part, grad_part, out_part), hidden in zip(of_parts, remembered, strict=True):
            out_part.copy_(backward_part(x_part, grad_part, hidden, ctx.constants, w, totals))
        if kept is not None:
            of_x = torch.zeros_like(x).index_copy_(0, kept, of_x)
        return of_x, grad, None, None, *totals.gradients(ctx.constants)


class Parts:
    """Split tensors of shape (N, rows, C) into parts.

    Args:
        x: tensor whose shape and device determine the size of the parts.
        kept: see ``reference``.
        w: parameters of the layers.
    """

    def __init__(self, x: Tensor, kept: Tensor | None, w: Weights):
        self.kept = kept
        # Without GRN, rows are independent, so each can be treated as an image.
        self.by_row = w.grn_gamma is None
        rows = ROWS if x.is_cpu else x[..., 0].numel()
        self.size = max(1, rows // (1 if self.by_row else x.shape[1]))

    def take(self, rows: Tensor) -> Tensor:
        """Return the images that are kept."""
        return rows if self.kept is None else rows[self.kept]

    def of(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Yield views (images, rows, C) of the parts of all tensors."""
        if self.by_row:
            tensors = [rows.flatten(0, 1).unsqueeze(1) for rows in tensors]
        return zip(*(rows.split(self.size) for rows in tensors), strict=True)


def forward_part(x: Tensor, constants: Constants, w: Weights) -> tuple[Tensor, Tensor]:
    """Return the unscaled output (images, rows, C), and the input of the activation (rows, hidden)."""
    norm = normalize(x, w.norm_weight, w.norm_bias, constants.norm_eps)[0]
    hidden = torch.addmm(w.b1, norm.flatten(0, 1).to(w.w1.dtype), w.w1.t())
    h = F.gelu(hidden, approximate=constants.gelu)
    if w.grn_gamma is not None:
        h = respond(h.unflatten(0, x.shape[:2]), w.grn_gamma, w.grn_beta, constants.grn_eps)[0].flatten(0, 1)
    return torch.addmm(w.b2, h, w.w2.t()).view(x.shape), hidden


def backward_part(
    x: Tensor, grad: Tensor, hidden: Tensor, constants: Constants, w: Weights, totals: 'Totals'
) -> Tensor:
    """Return the gradient of x, and add those of the weights to the totals.

    Args:
        x: (images, rows, C).
        grad: gradient of the scaled output, (images, rows, C).
        hidden: input of the activation, from ``forward_part``.
        constants: scales and settings of the operations.
        w: parameters of the layers.
        totals: sums of the gradients of the weights.
    """
    of_h = (grad * constants.factor(w.gamma)).to(w.w2.dtype).flatten(0, 1) @ w.w2
    if w.grn_gamma is None:
        h, of_hidden = gelu_backward(hidden, of_h, constants.gelu)
    else:
        images = F.gelu(hidden, approximate=constants.gelu).unflatten(0, x.shape[:2])
        h, response = respond(images, w.grn_gamma, w.grn_beta, constants.grn_eps)
        of_images, *of_grn = respond_backward(
            of_h.view(images.shape), images, w.grn_gamma, response, constants.grn_eps
        )
        totals.add('grn_gamma', of_grn[0])
        totals.add('grn_beta', of_grn[1])
        h = h.flatten(0, 1)
        of_hidden = torch.ops.aten.gelu_backward(of_images.flatten(0, 1), hidden, approximate=constants.gelu)
    norm, mean, rstd = normalize(x, w.norm_weight, w.norm_bias, constants.norm_eps)
    totals.add_product('w2', grad.to(w.w2.dtype).flatten(0, 1), h)
    totals.add('b2', grad.sum((0, 1), dtype=summing(grad)))
    totals.add_product('w1', of_hidden, norm.flatten(0, 1).to(w.w1.dtype))
    totals.add('b1', of_hidden.sum(0, dtype=summing(of_hidden)))
    of_norm = (of_hidden @ w.w1).view(x.shape)
    of_x, *of_weights = normalize_backward(of_norm, x, w.norm_weight, w.norm_bias, mean, rstd)
    totals.add('norm_weight', of_weights[0])
    totals.add('norm_bias', of_weights[1])
    return of_x


class Totals:
    """Sum the gradients of the weights over the parts, at least in float32.

    Gradients of the second linear layer are summed without the scales; the gradient of layer scale follows
    from them.

    Args:
        w: parameters of the layers.
        wanted: whether the gradient of each parameter is needed.
    """

    def __init__(self, w: Weights, wanted: Sequence[bool]):
        self.w, self.sums = w, {}
        self.wanted = {name for name, is_wanted in zip(w._fields, wanted, strict=True) if is_wanted}
        self.needed = self.wanted | ({'w2', 'b2'} if 'gamma' in self.wanted else set())

    def add(self, name: str, gradient: Tensor) -> None:
        if name in self.sums:
            self.sums[name] += gradient
        elif name in self.needed:
            self.sums[name] = gradient.to(summing(gradient))

    def add_product(self, name: str, grad: Tensor, x: Tensor) -> None:
        """Add the gradient of a linear layer's weight from grad (rows, out) and x (rows, in)."""
        if name in self.sums and grad.dtype == self.sums[name].dtype:
            self.sums[name].addmm_(grad.t(), x)
        elif name in self.needed:
            self.add(name, grad.t() @ x)

    def gradients(self, constants: Constants) -> list[Tensor | None]:
        """Return the gradients in the order of ``Weights``."""
        w, sums, factor = self.w, self.sums, constants.factor(self.w.gamma)
        if 'gamma' in self.wanted:
            sums['gamma'] = ((sums['w2'] * w.w2).sum(1) + sums['b2'] * w.b2) * constants.scale
        if 'b2' in self.wanted:
            sums['b2'] *= factor
        if 'w2' in self.wanted:
            sums['w2'] *= factor if w.gamma is None else factor[:, None]
        return [
            sums[name].to(tensor.dtype) if name in self.wanted else None
            for name, tensor in w._asdict().items()
        ]


def differentiable(
    grad: Tensor,
    x: Tensor,
    kept: Tensor | None,
    constants: Constants,
    w: Weights,
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    """Return gradients of x and the weights that can be differentiated again."""
    out = reference(x, torch.zeros_like(x, dtype=grad.dtype), kept, constants, w)
    inputs = [tensor for tensor, is_wanted in zip((x, *w), wanted, strict=True) if is_wanted]
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
    return [next(found) if is_wanted else None for is_wanted in wanted]
