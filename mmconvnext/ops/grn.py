"""Global response normalization (ConvNeXt V2, arXiv:2301.00808, section 3.3, algorithm 1)."""

import torch
from torch import Tensor

from .backend import use_triton


def grn(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Compute x + gamma * (x * relative response) + beta.

    Args:
        x: (N, ..., C).
        gamma: (C,).
        beta: (C,).
        eps: added to the mean response; 1e-6 as in the official ``models/utils.py``.

    Returns:
        (N, ..., C). Under autocast on CUDA, plain PyTorch returns float32; the kernel returns x's dtype.
    """
    if use_triton(x):
        from .triton import grn as kernels

        return kernels.grn(x, gamma, beta, eps)
    response = torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim - 1)), keepdim=True)  # (N, 1, ..., C)
    return x + gamma * (x * relative(response, eps)) + beta


def relative(response: Tensor, eps: float) -> Tensor:
    """Divide the response (..., C) by its mean over the channels."""
    return response / (response.mean(dim=-1, keepdim=True) + eps)


def respond(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return ``grn`` of x (N, rows, C), in its dtype and without gradients, and the response (N, C)."""
    if use_triton(x):
        from .triton import grn as kernels

        return kernels.respond(x, gamma, beta, eps)
    response = torch.linalg.vector_norm(x, dim=1, dtype=summing(x))
    factor = 1 + gamma * relative(response, eps)
    return torch.addcmul(beta, x, factor[:, None]).to(x.dtype), response


def respond_backward(
    dy: Tensor, x: Tensor, gamma: Tensor, response: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, gamma and beta."""
    if use_triton(x):
        from .triton import grn as kernels

        return kernels.respond_backward(dy, x, gamma, response, eps)
    share = relative(response, eps)
    of_share = (dy * x).sum(1, dtype=summing(x))
    dgamma, dbeta = (of_share * share).sum(0), dy.sum((0, 1), dtype=summing(x))
    # share = response / (mean response + eps); the gradient of a norm is the unit vector, or 0 for zeros.
    of_share = of_share * gamma
    of_response = of_share - (of_share * share).mean(-1, keepdim=True)
    of_response = of_response / (response.mean(-1, keepdim=True) + eps)
    unit = of_response / response.masked_fill(response == 0, torch.inf)
    dx = torch.addcmul(dy * (1 + gamma * share)[:, None], x, unit[:, None])
    return dx.to(x.dtype), dgamma, dbeta


def summing(x: Tensor) -> torch.dtype:
    """Return the dtype for sums of many values of x."""
    return torch.promote_types(x.dtype, torch.float32)
