"""Depthwise convolution of channels-last maps, stride 1, padded to the same size.

Forward: each program computes a tile of 7 rows x 8 columns x 32 or 64 channels. For each column of the
kernel, it reads the 13 shifted input rows once and adds each row to all output rows that it contributes to.
An output value therefore costs 13 loads and conversions instead of 49; only the loads of the first column
miss the L1 cache. The gradient of the input is the same convolution with the kernel flipped. For the gradient
of the weight, the roles swap: 7 rows of the output gradient and the sums of all kernel elements stay in
registers over all tiles of a program; the sums of the programs are then added in a fixed order.

Bound: arithmetic. 49 fp32 multiply-adds per value take an H200 (132 SMs x 128 lanes x 1.98 GHz) 1.46 ps;
reading and writing the value in bf16 (4 bytes) takes 0.93 ps at 4.3 TB/s. No kernel on these units can
exceed 64 % of the copy bandwidth. As compiled for Hopper by triton 3.9, one iteration of the forward loop
issues 704 instructions for 392 multiply-adds, and one of the weight gradient 1734 for 686: expect at best a
third and a quarter of the copy bandwidth. The remaining instructions are mostly bf16 to fp32 conversions,
masks and addresses, so that is where time can be saved.

Every odd kernel size is supported; the tile sizes are chosen for 7. From 9 on, the sums of the weight
gradient do not fit in registers, which is slow.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import channel_block, summing_programs

# At 224 pixels, the height of every map in ConvNeXt is a multiple of 7.
ROWS = 7


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``F.conv2d(x, weight, bias, padding='same', groups=C)``, with gradients; sums are in fp32.

    Under autocast, x is cast as ``F.conv2d`` casts it; the weights are not cast.

    Args:
        x: (N, C, H, W), float32, bfloat16 or float16; copied first unless channels-last.
        weight: (C, 1, k, k), k odd; any floating-point dtype.
        bias: (C,).

    Returns:
        (N, C, H, W), with the dtype of x, in channels-last memory format.

    Raises:
        ValueError: the shapes do not match.
    """
    channels, size = weight.shape[0], weight.shape[-1]
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f'x has shape {tuple(x.shape)}; expected (N, {channels}, H, W)')
    if weight.shape != (channels, 1, size, size) or size % 2 == 0:
        raise ValueError(f'the weight has shape {tuple(weight.shape)}; expected (C, 1, k, k) with an odd k')
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return convolve(x, weight, bias)


@torch.library.custom_op('mmconvnext::depthwise_conv', mutates_args=())
def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    images, channels, height, width = x.shape
    block_c = channel_block(channels)
    size = weight.shape[-1]
    out = torch.empty_like(x)
    if out.numel() == 0:
        return out
    grid = images * triton.cdiv(height, ROWS) * triton.cdiv(width, 8) * triton.cdiv(channels, block_c)
    convolve_kernel[(grid,)](
        x,
        weight.flatten(1).t().contiguous(),
        bias,
        out,
        height,
        width,
        channels,
        K=size,
        ROWS=ROWS,
        BLOCK_W=8,
        BLOCK_C=block_c,
        num_warps=block_c // 32,  # 8 values per thread: 16 bytes per load in bf16
    )
    return out


@convolve.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@torch.library.custom_op('mmconvnext::depthwise_conv_weight_grad', mutates_args=())
def weight_grad(x: Tensor, dy: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of the weight (C, 1, size, size) and the bias (C,), in fp32."""
    x, dy = (map.contiguous(memory_format=torch.channels_last) for map in (x, dy))
    images, channels, height, width = x.shape
    block_c = channel_block(channels)
    block_w = 256 // block_c  # 2 values per thread, because 50 sums of each stay in registers
    tiles = images * triton.cdiv(height, ROWS) * triton.cdiv(width, block_w)
    blocks = triton.cdiv(channels, block_c)
    programs = summing_programs(x.device, tiles, blocks)
    sums = x.new_empty(programs, size * size + 1, channels, dtype=torch.float32)
    if sums.numel() > 0:
        weight_grad_kernel[(programs, blocks)](
            x,
            dy,
            sums,
            height,
            width,
            channels,
            tiles,
            K=size,
            ROWS=ROWS,
            BLOCK_W=block_w,
            BLOCK_C=block_c,
            num_warps=4,
        )
    total = sums.sum(0)
    return total[:-1].t().reshape(channels, 1, size, size).contiguous(), total[-1].clone()


@weight_grad.register_fake
def _(x: Tensor, dy: Tensor, size: int) -> tuple[Tensor, Tensor]:
    channels = x.shape[1]
    empty = torch.empty_like(x, dtype=torch.float32, memory_format=torch.contiguous_format).new_empty
    return empty(channels, 1, size, size), empty(channels)


def save(ctx, inputs: tuple, output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.save_for_backward(x, weight)
    ctx.bias_dtype = None if bias is None else bias.dtype


def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    dx = dweight = dbias = None
    if ctx.needs_input_grad[0]:
        dx = convolve(dy, weight.flip(2, 3), None)
    if any(ctx.needs_input_grad[1:]):
        dweight, dbias = weight_grad(x, dy, weight.shape[-1])
        dweight = dweight.to(weight.dtype)
        dbias = None if ctx.bias_dtype is None else dbias.to(ctx.bias_dtype)
    return dx, dweight, dbias


convolve.register_autograd(backward, setup_context=save)


@triton.jit
def convolve_kernel(
    x_ptr,  # (N, H, W, C), contiguous
    taps_ptr,  # (K * K, C), contiguous
    bias_ptr,  # (C,) or None
    out_ptr,  # (N, H, W, C), contiguous
    height,
    width,
    channels,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    # The channel block varies fastest, because neighboring channel blocks are adjacent in memory.
    program = tl.program_id(0)
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    channel = program % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    tile = program // channel_blocks
    image, top, column = locate(tile, height, width, ROWS, BLOCK_W)
    known = channel < channels

    sums = (tl.zeros((BLOCK_W, BLOCK_C), tl.float32),) * ROWS
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + channel, known, 0).to(tl.float32)
        sums = (tl.zeros((BLOCK_W, BLOCK_C), tl.float32) + bias[None, :],) * ROWS
    for kw in range(K):
        taps = ()
        for kh in tl.static_range(K):
            tap = tl.load(taps_ptr + (kh * K + kw) * channels + channel, known, 0)
            taps += (tap.to(tl.float32)[None, :],)
        shifted = column + kw - K // 2
        offset = shifted[:, None] * channels + channel[None, :]
        inside = ((shifted >= 0) & (shifted < width))[:, None] & known[None, :]
        for i in tl.static_range(ROWS + K - 1):
            row = top + i - K // 2
            x_row_ptr = x_ptr + (image * height + row) * width * channels
            x = tl.load(x_row_ptr + offset, inside & has_row(row, height), 0).to(tl.float32)
            added = ()
            for r in tl.static_range(ROWS):
                if i - r >= 0 and i - r < K:
                    added += (tl.fma(x, taps[i - r], sums[r]),)
                else:
                    added += (sums[r],)
            sums = added

    offset = column[:, None] * channels + channel[None, :]
    inside = (column < width)[:, None] & known[None, :]
    for r in tl.static_range(ROWS):
        row = top + r
        out_row_ptr = out_ptr + (image * height + row) * width * channels
        tl.store(out_row_ptr + offset, sums[r].to(out_ptr.dtype.element_ty), inside & has_row(row, height))


@triton.jit
def weight_grad_kernel(
    x_ptr,  # (N, H, W, C), contiguous
    dy_ptr,  # (N, H, W, C), contiguous
    sums_ptr,  # (programs, K * K + 1, C), contiguous: sums for the kernel elements, and the sum of dy
    height,
    width,
    channels,
    tiles,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    known = channel < channels
    sums = (tl.zeros((BLOCK_W, BLOCK_C), tl.float32),) * (K * K + 1)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        image, top, column = locate(tile, height, width, ROWS, BLOCK_W)
        offset = column[:, None] * channels + channel[None, :]
        inside = (column < width)[:, None] & known[None, :]
        dy = ()
        bias_sum = sums[K * K]
        for r in tl.static_range(ROWS):
            row = top + r
            dy_row_ptr = dy_ptr + (image * height + row) * width * channels
            value = tl.load(dy_row_ptr + offset, inside & has_row(row, height), 0).to(tl.float32)
            dy += (value,)
            bias_sum += value
        offsets = ()
        insides = ()
        for kw in tl.static_range(K):
            shifted = column + (kw - K // 2)
            offsets += (shifted[:, None] * channels + channel[None, :],)
            insides += (((shifted >= 0) & (shifted < width))[:, None] & known[None, :],)
        for i in tl.static_range(ROWS + K - 1):
            row = top + i - K // 2
            x_row_ptr = x_ptr + (image * height + row) * width * channels
            xs = ()
            for kw in tl.static_range(K):
                x = tl.load(x_row_ptr + offsets[kw], insides[kw] & has_row(row, height), 0)
                xs += (x.to(tl.float32),)
            added = ()
            for kh in tl.static_range(K):
                for kw in tl.static_range(K):
                    if i - kh >= 0 and i - kh < ROWS:
                        added += (tl.fma(xs[kw], dy[i - kh], sums[kh * K + kw]),)
                    else:
                        added += (sums[kh * K + kw],)
            sums = added + (bias_sum,)

    out_ptr = sums_ptr + tl.program_id(0).to(tl.int64) * (K * K + 1) * channels
    for tap in tl.static_range(K * K + 1):
        tl.store(out_ptr + tap * channels + channel, tl.sum(sums[tap], 0), known)


@triton.jit
def locate(tile, height, width, ROWS: tl.constexpr, BLOCK_W: tl.constexpr):
    """Return the image and the first row (int64), and the columns of a tile."""
    across = tl.cdiv(width, BLOCK_W)
    down = tl.cdiv(height, ROWS)
    column = tile % across * BLOCK_W + tl.arange(0, BLOCK_W)
    top = (tile // across % down * ROWS).to(tl.int64)
    image = (tile // (across * down)).to(tl.int64)
    return image, top, column


@triton.jit
def has_row(row, height):
    """Return whether the map has this row, as (1, 1): the interpreter turns masked scalars into integers."""
    row += tl.zeros((1, 1), tl.int64)
    return (row >= 0) & (row < height)
