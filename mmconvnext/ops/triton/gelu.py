"""Exact GELU, z * Phi(z), of the hidden values of the MLP.

Kept for the backward pass is z alone. There, one pass over z and dh gives dz and, again, h, which the
second linear layer's weight gradient multiplies by: two reads and two writes instead of three and two
kernels, or of keeping h in memory.

Bound: copy bandwidth; erf takes some 20 instructions a value, below what the loads leave free.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@torch.library.custom_op('mmconvnext::gelu', mutates_args=())
def gelu(z: Tensor) -> Tensor:
    """z of any shape -> h like z, contiguous."""
    z = z.contiguous()
    h = torch.empty_like(z)
    if z.numel() > 0:
        gelu_kernel[(triton.cdiv(z.numel(), BLOCK),)](z, h, z.numel(), BLOCK=BLOCK)
    return h


@gelu.register_fake
def _(z: Tensor) -> Tensor:
    return torch.empty_like(z, memory_format=torch.contiguous_format)


@torch.library.custom_op('mmconvnext::gelu_backward', mutates_args=())
def gelu_backward(z: Tensor, dh: Tensor) -> tuple[Tensor, Tensor]:
    """h = gelu(z) and dz, both like z, contiguous."""
    z, dh = z.contiguous(), dh.contiguous()
    h, dz = torch.empty_like(z), torch.empty_like(z)
    if z.numel() > 0:
        backward_kernel[(triton.cdiv(z.numel(), BLOCK),)](z, dh, h, dz, z.numel(), BLOCK=BLOCK)
    return h, dz


@gelu_backward.register_fake
def _(z: Tensor, dh: Tensor) -> tuple[Tensor, Tensor]:
    h, dz = (torch.empty_like(z, memory_format=torch.contiguous_format) for _ in range(2))
    return h, dz


def save(ctx, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward(ctx, dh: Tensor) -> Tensor:
    # Who has no use for h is served by torch's kernel: dz alone, at the same bandwidth.
    return torch.ops.aten.gelu_backward(dh, *ctx.saved_tensors)


gelu.register_autograd(backward, setup_context=save)


@triton.jit
def gelu_kernel(
    z_ptr,  # (values,)
    h_ptr,  # (values,)
    values,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    z = tl.load(z_ptr + index, index < values, 0).to(tl.float32)
    tl.store(h_ptr + index, (z * distribution(z)).to(h_ptr.dtype.element_ty), index < values)


@triton.jit
def backward_kernel(
    z_ptr,  # (values,)
    dh_ptr,  # (values,)
    h_ptr,  # (values,)
    dz_ptr,  # (values,)
    values,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    z = tl.load(z_ptr + index, index < values, 0).to(tl.float32)
    dh = tl.load(dh_ptr + index, index < values, 0).to(tl.float32)
    below = distribution(z)
    density = 0.3989422804014327 * tl.exp(-0.5 * z * z)  # 1 / sqrt(2 pi)
    tl.store(h_ptr + index, (z * below).to(h_ptr.dtype.element_ty), index < values)
    tl.store(dz_ptr + index, (dh * (below + z * density)).to(dz_ptr.dtype.element_ty), index < values)


@triton.jit
def distribution(z):
    """Phi, of the standard normal."""
    return 0.5 * (1 + tl.erf(z * 0.7071067811865476))
