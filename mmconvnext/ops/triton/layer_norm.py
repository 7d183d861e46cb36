"""LayerNorm over the last axis.

Each program holds whole rows in registers (several if they are short), so x is read once. The backward pass
reads x and dy once: each program iterates over tiles of rows and keeps the sums of dweight and dbias in
registers; the sums of the programs are then added in a fixed order.

Bound: copy bandwidth. Compiled for Hopper, rows of up to 8192 values fit in registers; longer ones may spill.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import summing_programs

# Values per tile, unless a single row has more.
TILE = 2048


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize x (..., C) with weight (C,) and bias (C,); the result is contiguous, with x's dtype.

    Raises:
        ValueError: the shapes do not match.
    """
    if x.ndim == 0 or not weight.shape == bias.shape == x.shape[-1:]:
        raise ValueError(
            f'x has shape {tuple(x.shape)}, weight {tuple(weight.shape)} and bias {tuple(bias.shape)}; '
            'expected (..., C), (C,) and (C,)'
        )
    return normalize(x, weight, bias, eps)[0]


@torch.library.custom_op('mmconvnext::layer_norm', mutates_args=())
def normalize(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalized x, and the mean and 1 / standard deviation (...,) of its rows in fp32."""
    x = x.contiguous()
    out = torch.empty_like(x)
    mean, rstd = (x.new_empty(x.shape[:-1], dtype=torch.float32) for _ in range(2))
    rows, sizes = mean.numel(), blocks(x.shape[-1])
    if rows > 0:
        grid = (triton.cdiv(rows, sizes['BLOCK_ROWS']),)
        normalize_kernel[grid](
            x, weight.contiguous(), bias.contiguous(), out, mean, rstd, rows, x.shape[-1], eps, **sizes
        )
    return out, mean, rstd


@normalize.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean, rstd = (x.new_empty(x.shape[:-1], dtype=torch.float32) for _ in range(2))
    return torch.empty_like(x, memory_format=torch.contiguous_format), mean, rstd


@torch.library.custom_op('mmconvnext::layer_norm_backward', mutates_args=())
def normalize_backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of x, and those of weight and bias (C,) in fp32."""
    x, dy = x.contiguous(), dy.contiguous()
    dx = torch.empty_like(x)
    rows, channels, sizes = mean.numel(), x.shape[-1], blocks(x.shape[-1])
    programs = summing_programs(x.device, triton.cdiv(rows, sizes['BLOCK_ROWS']))
    sums = x.new_empty(2, programs, channels, dtype=torch.float32)
    if programs > 0:  # without rows, the sums below are zero
        backward_kernel[(programs,)](
            dy, x, weight.contiguous(), mean, rstd, dx, sums[0], sums[1], rows, channels, **sizes
        )
    return dx, sums[0].sum(0), sums[1].sum(0)


@normalize_backward.register_fake
def _(dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dweight, dbias = (x.new_empty(x.shape[-1:], dtype=torch.float32) for _ in range(2))
    return torch.empty_like(x, memory_format=torch.contiguous_format), dweight, dbias


def blocks(channels: int) -> dict[str, int]:
    """Return the block size of a program and the number of warps that gives each thread 16 values."""
    block_c = triton.next_power_of_2(channels)
    return dict(BLOCK_ROWS=max(1, TILE // block_c), BLOCK_C=block_c, num_warps=max(4, 4 * block_c // TILE))


def save(ctx, inputs: tuple, output: tuple) -> None:
    x, weight, bias, _ = inputs
    ctx.save_for_backward(x, weight, *output[1:])
    ctx.bias_dtype = bias.dtype
    ctx.mark_non_differentiable(*output[1:])


def backward(ctx, dy: Tensor, *_) -> tuple[Tensor | None, ...]:
    x, weight, mean, rstd = ctx.saved_tensors
    dx, dweight, dbias = normalize_backward(dy, x, weight, mean, rstd)
    return dx, dweight.to(weight.dtype), dbias.to(ctx.bias_dtype), None


normalize.register_autograd(backward, setup_context=save)


@triton.jit
def normalize_kernel(
    x_ptr,  # (rows, C), contiguous
    weight_ptr,  # (C,)
    bias_ptr,  # (C,)
    out_ptr,  # (rows, C), contiguous
    mean_ptr,  # (rows,)
    rstd_ptr,  # (rows,)
    rows,
    channels,
    eps,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    channel = tl.arange(0, BLOCK_C)
    known = channel < channels
    inside = (row < rows)[:, None] & known[None, :]
    offset = row.to(tl.int64)[:, None] * channels + channel[None, :]
    x = tl.load(x_ptr + offset, inside, 0).to(tl.float32)
    weight = tl.load(weight_ptr + channel, known, 0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, known, 0).to(tl.float32)
    mean = tl.sum(x, 1) / channels
    centred = tl.where(inside, x - mean[:, None], 0)
    rstd = tl.rsqrt(tl.sum(centred * centred, 1) / channels + eps)
    out = centred * rstd[:, None] * weight[None, :] + bias[None, :]
    tl.store(out_ptr + offset, out.to(out_ptr.dtype.element_ty), inside)
    tl.store(mean_ptr + row, mean, row < rows)
    tl.store(rstd_ptr + row, rstd, row < rows)


@triton.jit
def backward_kernel(
    dy_ptr,  # (rows, C), contiguous
    x_ptr,  # (rows, C), contiguous
    weight_ptr,  # (C,)
    mean_ptr,  # (rows,)
    rstd_ptr,  # (rows,)
    dx_ptr,  # (rows, C), contiguous
    dweight_ptr,  # (programs, C)
    dbias_ptr,  # (programs, C)
    rows,
    channels,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel = tl.arange(0, BLOCK_C)
    known = channel < channels
    weight = tl.load(weight_ptr + channel, known, 0).to(tl.float32)
    dweight = tl.zeros((BLOCK_ROWS, BLOCK_C), tl.float32)
    dbias = tl.zeros((BLOCK_ROWS, BLOCK_C), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(rows, BLOCK_ROWS), tl.num_programs(0)):
        row = tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        inside = (row < rows)[:, None] & known[None, :]
        offset = row.to(tl.int64)[:, None] * channels + channel[None, :]
        dy = tl.load(dy_ptr + offset, inside, 0).to(tl.float32)
        x = tl.load(x_ptr + offset, inside, 0).to(tl.float32)
        mean = tl.load(mean_ptr + row, row < rows, 0)
        rstd = tl.load(rstd_ptr + row, row < rows, 0)
        x_hat = (x - mean[:, None]) * rstd[:, None]
        dweight += dy * x_hat
        dbias += dy
        dx_hat = dy * weight[None, :]
        along_x = tl.sum(dx_hat * x_hat, 1) / channels
        along_one = tl.sum(dx_hat, 1) / channels
        dx = (dx_hat - x_hat * along_x[:, None] - along_one[:, None]) * rstd[:, None]
        tl.store(dx_ptr + offset, dx.to(dx_ptr.dtype.element_ty), inside)
    sums = tl.program_id(0) * channels + channel
    tl.store(dweight_ptr + sums, tl.sum(dweight, 0), known)
    tl.store(dbias_ptr + sums, tl.sum(dbias, 0), known)
