"""Layer scale, drop path and the addition of the input in one pass: x + y * gamma * keep[image].

Backward, one pass over dout and y gives dy and the sums of dgamma: each program walks over tiles of rows and
keeps its sums in registers; the programs' sums are then added in a fixed order. dx is dout.

Bound: copy bandwidth; forward reads x and y and writes once, backward reads dout and y and writes once.
"""

from functools import reduce

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import channel_block, summing_programs

BLOCK_ROWS = 32


def residual(x: Tensor, y: Tensor, gamma: Tensor | None, keep: Tensor | None) -> Tensor:
    """x, y (N, ..., C), gamma (C,), keep (N,), of any floating types -> (N, ..., C), contiguous.

    Its type is what torch promotes all of them to. ``keep`` gets no gradient.

    Raises:
        ValueError: shapes that do not fit.
    """
    wanted = dict(y=(y, x.shape), gamma=(gamma, x.shape[-1:]), keep=(keep, x.shape[:1]))
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f'{name} has shape {tuple(tensor.shape)}; {tuple(shape)} is needed')
    return add(x, y, gamma, keep)


@torch.library.custom_op('mmconvnext::residual', mutates_args=())
def add(x: Tensor, y: Tensor, gamma: Tensor | None, keep: Tensor | None) -> Tensor:
    x, y = x.contiguous(), y.contiguous()
    out = torch.empty_like(x, dtype=promoted(x, y, gamma, keep))
    rows, channels = x.shape[:-1].numel(), x.shape[-1]
    block_c = channel_block(channels)
    if out.numel() > 0:
        add_kernel[(triton.cdiv(rows, BLOCK_ROWS) * triton.cdiv(channels, block_c),)](
            x,
            y,
            None if gamma is None else gamma.contiguous(),
            None if keep is None else keep.contiguous(),
            out,
            rows,
            rows // x.shape[0],
            channels,
            BLOCK_ROWS=BLOCK_ROWS,
            BLOCK_C=block_c,
        )
    return out


@add.register_fake
def _(x: Tensor, y: Tensor, gamma: Tensor | None, keep: Tensor | None) -> Tensor:
    return torch.empty_like(x, dtype=promoted(x, y, gamma, keep), memory_format=torch.contiguous_format)


@torch.library.custom_op('mmconvnext::residual_backward', mutates_args=())
def add_backward(dout: Tensor, y: Tensor, gamma: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of y, and of gamma (C,) in fp32, or nothing (0,) without one."""
    dout, y = dout.contiguous(), y.contiguous()
    dy = torch.empty_like(y)
    rows, channels = y.shape[:-1].numel(), y.shape[-1]
    block_c = channel_block(channels)
    blocks = triton.cdiv(channels, block_c)
    programs = summing_programs(y.device, triton.cdiv(rows, BLOCK_ROWS), blocks)
    sums = y.new_empty(programs, 0 if gamma is None else channels, dtype=torch.float32)
    if y.numel() > 0:
        backward_kernel[(programs, blocks)](
            dout,
            y,
            None if gamma is None else gamma.contiguous(),
            None if keep is None else keep.contiguous(),
            dy,
            sums,
            rows,
            rows // y.shape[0],
            channels,
            BLOCK_ROWS=BLOCK_ROWS,
            BLOCK_C=block_c,
        )
    return dy, sums.sum(0)


@add_backward.register_fake
def _(dout: Tensor, y: Tensor, gamma: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    dgamma = y.new_empty(0 if gamma is None else y.shape[-1], dtype=torch.float32)
    return torch.empty_like(y, memory_format=torch.contiguous_format), dgamma


def promoted(*tensors: Tensor | None) -> torch.dtype:
    return reduce(torch.promote_types, [tensor.dtype for tensor in tensors if tensor is not None])


def save(ctx, inputs: tuple, output: Tensor) -> None:
    x, *others = inputs
    ctx.save_for_backward(*others)
    ctx.x_dtype = x.dtype


def backward(ctx, dout: Tensor) -> tuple[Tensor | None, ...]:
    y, gamma, keep = ctx.saved_tensors
    dx = dout.to(ctx.x_dtype)
    if not any(ctx.needs_input_grad[1:]):
        return dx, None, None, None
    dy, dgamma = add_backward(dout, y, gamma, keep)
    return dx, dy, None if gamma is None else dgamma.to(gamma.dtype), None


add.register_autograd(backward, setup_context=save)


@triton.jit
def add_kernel(
    x_ptr,  # (rows, C), contiguous
    y_ptr,  # (rows, C), contiguous
    gamma_ptr,  # (C,) or None
    keep_ptr,  # (rows // image_rows,) or None
    out_ptr,  # (rows, C), contiguous
    rows,
    image_rows,
    channels,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    channel = tl.program_id(0) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.program_id(0) // channel_blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inside = (row < rows)[:, None] & (channel < channels)[None, :]
    offset = row.to(tl.int64)[:, None] * channels + channel[None, :]
    y = tl.load(y_ptr + offset, inside, 0).to(tl.float32)
    if gamma_ptr is not None:
        y *= tl.load(gamma_ptr + channel, channel < channels, 0).to(tl.float32)[None, :]
    if keep_ptr is not None:
        y *= tl.load(keep_ptr + row // image_rows, row < rows, 0).to(tl.float32)[:, None]
    out = tl.load(x_ptr + offset, inside, 0).to(tl.float32) + y
    tl.store(out_ptr + offset, out.to(out_ptr.dtype.element_ty), inside)


@triton.jit
def backward_kernel(
    dout_ptr,  # (rows, C), contiguous
    y_ptr,  # (rows, C), contiguous
    gamma_ptr,  # (C,) or None
    keep_ptr,  # (rows // image_rows,) or None
    dy_ptr,  # (rows, C), contiguous
    sums_ptr,  # (programs, C), contiguous; unused without gamma
    rows,
    image_rows,
    channels,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    known = channel < channels
    if gamma_ptr is not None:
        gamma = tl.load(gamma_ptr + channel, known, 0).to(tl.float32)
        sums = tl.zeros((BLOCK_ROWS, BLOCK_C), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(rows, BLOCK_ROWS), tl.num_programs(0)):
        row = tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        inside = (row < rows)[:, None] & known[None, :]
        offset = row.to(tl.int64)[:, None] * channels + channel[None, :]
        dy = tl.load(dout_ptr + offset, inside, 0).to(tl.float32)
        if keep_ptr is not None:
            dy *= tl.load(keep_ptr + row // image_rows, row < rows, 0).to(tl.float32)[:, None]
        if gamma_ptr is not None:
            sums += dy * tl.load(y_ptr + offset, inside, 0).to(tl.float32)
            dy *= gamma[None, :]
        tl.store(dy_ptr + offset, dy.to(dy_ptr.dtype.element_ty), inside)
    if gamma_ptr is not None:
        tl.store(sums_ptr + tl.program_id(0) * channels + channel, tl.sum(sums, 0), known)
