#!/usr/bin/env python
"""Check the Triton kernels on a GPU, and compare their speed with plain and compiled PyTorch."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from rich import box
from rich.console import Console
from rich.table import Table
from timing import append_rows, check_rounds, conditions_on, results_file, time_interleaved
from torch import Tensor

from mmconvnext.command_line import run_tool
from mmconvnext.errors import UserError
from mmconvnext.models import ARCHS
from mmconvnext.ops.gelu import gelu_backward
from mmconvnext.ops.grn import grn
from mmconvnext.ops.layer_norm import layer_norm

RESULTS = Path(__file__).parent / 'results/kernels.jsonl'
CONTENDERS = ('triton', 'torch', 'compiled')
DTYPE = torch.bfloat16
EPS = 1e-6
# Size of the tensor whose copy gives the bandwidth: 1 GiB, much larger than any cache.
COPIED_VALUES = 2**29


@dataclass
class Case:
    """An operator on the feature maps of a stage.

    Attributes:
        inputs: inputs for our kernel and plain torch; the first is a feature map.
        passes: minimum number of times that a map is read or written in a forward pass and in training
            (forward and backward).
    """

    op: str
    ours: Callable
    plain: Callable
    inputs: tuple[Tensor, ...]
    passes: dict[str, int]


def measure_kernels(
    *,
    op: Sequence[str],
    batch: int = 128,
    rounds: int = 7,
    out: str | Path | None = None,
) -> None:
    """Check and time the kernels on feature maps of ConvNeXt-T and -B at 224 px, and append rows to a file.

    Args:
        op: names of operators in ``build``.
        batch: batch size.
        rounds: timed rounds per contender, at least 2.
        out: file of JSON lines to append to; default: that of this repository.

    Raises:
        UserError: there is no GPU, or a kernel is wrong.
    """
    if not torch.cuda.is_available():
        raise UserError(
            f'torch {torch.__version__} finds no CUDA device; timing the kernels needs an NVIDIA GPU (Ampere '
            'or later), a CUDA build of torch, and triton'
        )
    check_rounds(rounds)
    os.environ['MMCONVNEXT_TRITON'] = '0'  # torch must not use our kernels
    out = results_file(out, RESULTS)
    device = torch.device('cuda')
    copy = copy_bandwidth(device, rounds)
    print(f'A copy reads and writes {copy / 1e9:,.0f} GB/s')
    stages = [(c, 56 >> i) for arch in ('tiny', 'base') for i, c in enumerate(ARCHS[arch]['channels'])]
    for name, (channels, side) in product(op, stages):
        rows = measure(build(name, batch, channels, side, device), CONTENDERS, rounds, copy)
        show(rows)
        append_rows(rows, out)
    print(f'Appended to {out}')


def copy_bandwidth(device: torch.device, rounds: int) -> float:
    """Return the bytes that are read and written per second."""
    source = torch.randn(COPIED_VALUES, dtype=DTYPE, device=device)
    target = torch.empty_like(source)
    seconds = time_interleaved({'copy': lambda: target.copy_(source)}, rounds)['copy']
    return 2 * source.nbytes / median(seconds)


def build(op: str, images: int, channels: int, side: int, device: torch.device) -> Case:
    """Return an operator on maps of side x side pixels with ``channels``, or four times as many if hidden."""
    from mmconvnext.ops.triton import depthwise_conv as conv_kernels  # imported here because it needs triton
    from mmconvnext.ops.triton import gelu as gelu_kernels
    from mmconvnext.ops.triton import grn as grn_kernels
    from mmconvnext.ops.triton import layer_norm as norm_kernels

    hidden = 4 * channels

    def values(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=DTYPE, device=device).requires_grad_()

    def maps(channels: int) -> Tensor:
        return values(images, side, side, channels)

    match op:
        case 'depthwise_conv':
            ours, plain = conv_kernels.depthwise_conv, partial(F.conv2d, padding=3, groups=channels)
            x = maps(channels).detach().movedim(-1, 1).requires_grad_()  # NCHW in channels-last memory
            inputs = x, values(channels, 1, 7, 7), values(channels)
            passes = dict(forward=2, training=5)
        case 'layer_norm':
            ours, plain = partial(norm_kernels.layer_norm, eps=EPS), partial(layer_norm, eps=EPS)
            inputs = maps(channels), values(channels), values(channels)
            passes = dict(forward=2, training=5)
        case 'gelu_backward':
            ours, plain = gelu_kernels.gelu_backward, gelu_backward
            inputs = maps(hidden).detach(), maps(hidden).detach()
            passes = dict(forward=4)
        case 'grn':
            ours, plain = partial(grn_kernels.grn, eps=EPS), partial(grn, eps=EPS)
            inputs = maps(hidden), values(hidden), values(hidden)
            passes = dict(forward=3, training=8)
    return Case(op, ours, plain, inputs, passes)


def measure(case: Case, contenders: Sequence[str], rounds: int, copy: float) -> list[dict]:
    """Return a row for each direction and contender.

    Raises:
        UserError: the kernel is wrong.
    """
    calls = dict(triton=case.ours, torch=case.plain)
    if 'compiled' in contenders:
        torch.compiler.reset()  # torch.compile gives up on a function after eight shapes
        calls['compiled'] = torch.compile(case.plain, dynamic=False)
    errors = check(case, calls)
    runs = {
        (direction, name): partial(run, calls[name], case.inputs, direction)
        for direction in case.passes
        for name in contenders
    }
    times = time_interleaved(runs, rounds)
    x = case.inputs[0]
    conditions = dict(conditions_on(x.device), triton=version('triton'))
    rows = []
    for (direction, name), seconds in times.items():
        fast, middle, slow = quantiles(seconds, n=4, method='inclusive')
        rate = case.passes[direction] * x.nbytes / middle
        numbers = dict(
            microseconds=middle * 1e6,
            lower_quartile=fast * 1e6,
            upper_quartile=slow * 1e6,
            gb_per_second=rate / 1e9,
            share_of_copy=rate / copy,
            error=errors[name],
        )
        rows.append(
            dict(
                op=case.op,
                direction=direction,
                contender=name,
                shape=list(x.shape),
                dtype=str(x.dtype).removeprefix('torch.'),
                **{key: float(f'{number:.4g}') for key, number in numbers.items()},
                rounds=rounds,
                conditions=conditions,
            )
        )
    return rows


def check(case: Case, calls: dict[str, Callable]) -> dict[str, float]:
    """Return the largest error of each call in output and gradients, relative to their norm in fp32.

    Raises:
        UserError: the kernel's error exceeds both twice that of plain torch and one unit in the last place.
    """
    wide = tuple(x.detach().float().requires_grad_(x.requires_grad) for x in case.inputs)
    with torch.backends.cudnn.flags(allow_tf32=False):
        truth = run(case.plain, wide, 'training')
    errors = {}
    for name, call in calls.items():
        found = run(call, case.inputs, 'training')
        errors[name] = max(relative_error(*pair) for pair in zip(found, truth, strict=True))
    allowed = max(2 * errors['torch'], torch.finfo(DTYPE).eps)
    if not errors['triton'] <= allowed:  # also true for NaN
        raise UserError(
            f'{case.op} on {tuple(case.inputs[0].shape)} has an error of {errors["triton"]:.2g} of its norm, '
            f'plain torch {errors["torch"]:.2g}; it is not timed until it is correct'
        )
    return errors


def relative_error(found: Tensor, truth: Tensor) -> float:
    return ((found.float() - truth).norm() / truth.norm()).item()


def run(call: Callable, inputs: tuple[Tensor, ...], direction: str) -> list[Tensor]:
    """Return the output and, in training, the gradients of half the sum of its squares."""
    wanted = [x for x in inputs if x.requires_grad and direction == 'training']
    with torch.set_grad_enabled(bool(wanted)):
        out = outputs(call(*inputs))
    given = [x.detach() for x in out]
    return given + list(torch.autograd.grad(out, wanted, given)) if wanted else given


def outputs(result: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def show(rows: list[dict]) -> None:
    """Print a table for one operator and shape."""
    first = rows[0]
    title = f'{first["op"]} on {"x".join(map(str, first["shape"]))} {first["dtype"]}'
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify='left')
    for column in ('', '', 'us', 'quartiles', 'GB/s', 'of a copy', 'error'):
        table.add_column(column, justify='right' if column else 'left')
    for row in rows:
        table.add_row(
            row['direction'],
            row['contender'],
            f'{row["microseconds"]:,.4g}',
            f'{row["lower_quartile"]:.4g}-{row["upper_quartile"]:.4g}',
            f'{row["gb_per_second"]:,.0f}',
            f'{row["share_of_copy"]:.0%}',
            f'{row["error"]:.1e}',
        )
    Console(width=100).print(table)


OPS = ('depthwise_conv', 'layer_norm', 'gelu_backward', 'grn')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--op', nargs='+', choices=OPS, default=OPS)
    parser.add_argument('--batch', type=int, default=128, help='batch size')
    parser.add_argument(
        '--rounds', type=int, default=7, help='timed rounds per contender; the median is reported'
    )
    parser.add_argument(
        '--out', metavar='FILE', help='file of JSON lines to append to; default that of this repository'
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(measure_kernels, parse_args())
