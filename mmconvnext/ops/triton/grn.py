"""Global response normalization of channels-last maps.

Two kernels serve both directions. ``sum_kernel`` sums a * b over the rows of each image; ``scale_kernel``
writes a * scale + b * shift. The steps between them have one value per image and channel and run in PyTorch.

    forward    s = sum x x        g = sqrt(s), r = g / (mean g + eps)     y = x (1 + gamma r) + beta
    backward   s = sum dy x       dgamma = sum r s, dg from s             dx = dy (1 + gamma r) + x dg / g

Bound: copy bandwidth; forward reads x twice and writes once, backward reads x and dy twice and writes once.
The rows are summed in chunks, whose sums are added in a fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import channel_block, summing_programs

BLOCK_ROWS = 32


def grn(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Compute GRN of x (N, ..., C) with gamma (C,) and beta (C,); the result is contiguous, with x's dtype.

    Raises:
        ValueError: the shapes do not match.
    """
    if x.ndim < 3 or not gamma.shape == beta.shape == x.shape[-1:]:
        raise ValueError(
            f'x has shape {tuple(x.shape)}, gamma {tuple(gamma.shape)} and beta {tuple(beta.shape)}; '
            'expected (N, ..., C), (C,) and (C,)'
        )
    return respond(x.flatten(1, -2), gamma, beta, eps)[0].view(x.shape)


@torch.library.custom_op('mmconvnext::grn', mutates_args=())
def respond(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return GRN of x (N, rows, C), and the response g (N, C) in fp32."""
    x = x.contiguous()
    response = sum_products(x, None)[0].sqrt()
    scale = 1 + gamma.float() * relative(response, eps)
    return scale_add(x, scale, None, beta.float().expand_as(scale)), response


@respond.register_fake
def _(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    return out, x.new_empty(x.shape[0], x.shape[2], dtype=torch.float32)


@torch.library.custom_op('mmconvnext::grn_backward', mutates_args=())
def respond_backward(
    dy: Tensor, x: Tensor, gamma: Tensor, response: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of x, and those of gamma and beta (C,) in fp32."""
    dy, x, gamma = dy.contiguous(), x.contiguous(), gamma.float()
    along_x, along_one = sum_products(dy, x)
    dgamma = (along_x * relative(response, eps)).sum(0)
    # The denominator of r = g / (mean g + eps) depends on all channels of an image.
    dr = along_x * gamma
    denominator = response.mean(-1, keepdim=True) + eps
    dg = dr / denominator - (dr * response).mean(-1, keepdim=True) / denominator**2
    direction = torch.where(response > 0, dg / response, 0)  # a channel of zeros has gradient 0
    dx = scale_add(dy, 1 + gamma * relative(response, eps), x, direction)
    return dx, dgamma, along_one.sum(0)


@respond_backward.register_fake
def _(dy: Tensor, x: Tensor, gamma: Tensor, response: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    dgamma, dbeta = (torch.empty_like(gamma, dtype=torch.float32) for _ in range(2))
    return torch.empty_like(x, memory_format=torch.contiguous_format), dgamma, dbeta


def save(ctx, inputs: tuple, output: tuple) -> None:
    x, gamma, beta, ctx.eps = inputs
    ctx.save_for_backward(x, gamma, output[1])
    ctx.beta_dtype = beta.dtype
    ctx.mark_non_differentiable(output[1])


def backward(ctx, dy: Tensor, _) -> tuple[Tensor | None, ...]:
    x, gamma, response = ctx.saved_tensors
    dx, dgamma, dbeta = respond_backward(dy, x, gamma, response, ctx.eps)
    return dx, dgamma.to(gamma.dtype), dbeta.to(ctx.beta_dtype), None


respond.register_autograd(backward, setup_context=save)


def relative(response: Tensor, eps: float) -> Tensor:
    return response / (response.mean(-1, keepdim=True) + eps)


def sum_products(a: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sums over rows of a * b and of a (N, rows, C), as (N, C) in fp32; b=None means b = a."""
    images, rows, channels = a.shape
    block_c = channel_block(channels)
    blocks = triton.cdiv(channels, block_c)
    chunks = summing_programs(a.device, triton.cdiv(rows, BLOCK_ROWS), max(1, images * blocks))
    sums = a.new_empty(2, images, chunks, channels, dtype=torch.float32)
    if a.numel() > 0:
        sum_kernel[(images * chunks * blocks,)](
            a, b, sums[0], sums[1], rows, channels, chunks, BLOCK_ROWS=BLOCK_ROWS, BLOCK_C=block_c
        )
    return sums[0].sum(1), sums[1].sum(1)


def scale_add(a: Tensor, scale: Tensor, b: Tensor | None, shift: Tensor) -> Tensor:
    """Compute a * scale + b * shift with a, b (N, rows, C) and scale, shift (N, C); b=None means ones."""
    images, rows, channels = a.shape
    block_c = channel_block(channels)
    out = torch.empty_like(a)
    if a.numel() > 0:
        grid = images * triton.cdiv(rows, BLOCK_ROWS) * triton.cdiv(channels, block_c)
        scale_kernel[(grid,)](
            a, scale, b, shift, out, rows, channels, shift.stride(0), BLOCK_ROWS=BLOCK_ROWS, BLOCK_C=block_c
        )
    return out


@triton.jit
def sum_kernel(
    a_ptr,  # (N, rows, C), contiguous
    b_ptr,  # (N, rows, C), contiguous, or None
    product_ptr,  # (N, chunks, C), contiguous
    sum_ptr,  # (N, chunks, C), contiguous
    rows,
    channels,
    chunks,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    channel = tl.program_id(0) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    known = channel < channels
    image_chunk = (tl.program_id(0) // channel_blocks).to(tl.int64)
    first_row = image_chunk // chunks * rows
    products = tl.zeros((BLOCK_ROWS, BLOCK_C), tl.float32)
    sums = tl.zeros((BLOCK_ROWS, BLOCK_C), tl.float32)
    for start in range(image_chunk % chunks * BLOCK_ROWS, rows, chunks * BLOCK_ROWS):
        row = start + tl.arange(0, BLOCK_ROWS)
        inside = (row < rows)[:, None] & known[None, :]
        offset = (first_row + row)[:, None] * channels + channel[None, :]
        a = tl.load(a_ptr + offset, inside, 0).to(tl.float32)
        sums += a
        if b_ptr is None:
            products += a * a
        else:
            products += a * tl.load(b_ptr + offset, inside, 0).to(tl.float32)
    offset = image_chunk * channels + channel
    tl.store(product_ptr + offset, tl.sum(products, 0), known)
    tl.store(sum_ptr + offset, tl.sum(sums, 0), known)


@triton.jit
def scale_kernel(
    a_ptr,  # (N, rows, C), contiguous
    scale_ptr,  # (N, C), contiguous
    b_ptr,  # (N, rows, C), contiguous, or None
    shift_ptr,  # (N, C), of stride shift_stride over N
    out_ptr,  # (N, rows, C), contiguous
    rows,
    channels,
    shift_stride,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    row_blocks = tl.cdiv(rows, BLOCK_ROWS)
    channel = tl.program_id(0) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    known = channel < channels
    tile = tl.program_id(0) // channel_blocks
    row = tile % row_blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    image = (tile // row_blocks).to(tl.int64)
    scale = tl.load(scale_ptr + image * channels + channel, known, 0)[None, :]
    shift = tl.load(shift_ptr + image * shift_stride + channel, known, 0)[None, :]
    inside = (row < rows)[:, None] & known[None, :]
    offset = (image * rows + row)[:, None] * channels + channel[None, :]
    out = tl.load(a_ptr + offset, inside, 0).to(tl.float32) * scale
    if b_ptr is None:
        out += shift
    else:
        out += tl.load(b_ptr + offset, inside, 0).to(tl.float32) * shift
    tl.store(out_ptr + offset, out.to(out_ptr.dtype.element_ty), inside)
