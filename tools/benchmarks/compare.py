#!/usr/bin/env python
"""Compare images per second and peak memory of our ConvNeXt and those of other libraries."""

import argparse
import gc
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from bars import plot_bars
from contenders import DROP_PATH_RATES, Condition, check_sameness, contender, installed_contenders
from rich import box
from rich.console import Console
from rich.table import Table
from timing import append_rows, check_rounds, conditions_on, results_file, speed, time_interleaved

from mmconvnext.command_line import run_tool
from mmconvnext.errors import UserError
from mmconvnext.models import ARCHS

RESULTS = Path(__file__).parent / 'results/comparison.jsonl'


def compare(
    *,
    arch: Sequence[str] = ('tiny',),
    mode: Sequence[str] = ('inference', 'training'),
    dtype: Sequence[str] = ('fp32',),
    batch: Sequence[int] = (1, 8),
    size: int = 224,
    contenders: Sequence[str] | None = None,
    rounds: int = 7,
    quick: bool = False,
    out: str | Path | None = None,
    plot: str | Path | None = None,
) -> None:
    """Measure our network and its peers in alternation, print the ratios and append rows to a file.

    Args:
        arch: names in ``ARCHS``, with prefix ``v2-`` for V2.
        mode: inference, training, pretraining.
        dtype: fp32, bf16.
        batch: batch sizes to measure.
        size: image heights and widths in pixels.
        contenders: library and variant, for example ``timm eager``; default: all installed ones except
            compiled ones, because compilation takes minutes.
        rounds: timed rounds per contender, at least 2.
        quick: measure one network with batches of 1 and 8, few rounds and no memory, in three minutes.
        out: file of JSON lines to append to; default: that of this repository.
        plot: image file for a bar chart.

    Raises:
        UserError: no such network or contender, or our optimized network gives other results.
    """
    if quick:
        arch, batch, rounds = arch[:1], (1, 8), 3
    contenders = contenders or [name for name in installed_contenders() if not name.endswith('compiled')]
    check(arch, contenders, rounds)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    out = results_file(out, RESULTS)
    measured = []
    for case in product(arch, mode, dtype, batch):
        condition = Condition(*case, size, device)
        if condition.mode == 'inference':
            check_sameness(condition)
        rows = measure(condition, contenders, rounds, memory=not quick)
        show(condition, rows)
        append_rows(rows, out)
        measured.append((condition, rows))
    print(f'Appended to {out}')
    if plot is not None:
        plot_bars(measured, plot)
        print(f'Drew {plot}')


def check(arch: Iterable[str], contenders: Iterable[str], rounds: int) -> None:
    for name in arch:
        if name.removeprefix('v2-') not in ARCHS:
            raise UserError(f'network {name} is unknown; choose from {", ".join(ARCHS)}, with or without v2-')
    missing = set(contenders) - set(installed_contenders())
    if missing:
        raise UserError(
            f'{", ".join(sorted(missing))} cannot be measured here; choose from '
            f'{", ".join(installed_contenders())}'
        )
    check_rounds(rounds)


def measure(
    condition: Condition, contenders: Iterable[str], rounds: int, *, memory: bool = True
) -> list[dict]:
    """Return a row for each contender that supports a condition; memory is measured in a new process."""
    cases = {}
    for name in contenders:
        try:
            cases[name] = contender(name, condition)
        except LookupError:
            continue
    seconds = time_interleaved(cases, rounds)
    del cases
    gc.collect()
    conditions = conditions_on(torch.device(condition.device))
    return [
        dict(
            contender=name,
            **asdict(condition),
            **speed(times, condition.batch),
            drop_path_rate=DROP_PATH_RATES.get(condition.arch, 0.0) if condition.mode == 'training' else None,
            peak_mib=peak_memory(name, condition) if memory else None,
            rounds=rounds,
            conditions=conditions,
        )
        for name, times in seconds.items()
    ]


def peak_memory(name: str, condition: Condition) -> float:
    """Return the peak memory of the second call in MiB, beyond that in use before the first call.

    This runs in a separate process, because a process keeps freed memory.
    """
    with get_context('spawn').Pool(1) as pool:
        return pool.apply(_peak_memory, (name, condition, torch.get_num_threads()))


def _peak_memory(name: str, condition: Condition, threads: int) -> float:
    torch.set_num_threads(threads)
    call = contender(name, condition)
    if condition.device == 'cuda':
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.reset_peak_memory_stats()
        call()
        return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
    before = resident('VmRSS')
    call()
    Path('/proc/self/clear_refs').write_text('5')  # reset the peak
    call()
    return round(resident('VmHWM') - before, 1)


def resident(field: str) -> float:
    """Return the memory of this process in MiB, current (VmRSS) or peak (VmHWM), on Linux."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def show(condition: Condition, rows: list[dict]) -> None:
    """Print a table, ours first, with ratios to the best of the others."""
    others = [row['images_per_second'] for row in rows if not row['contender'].startswith('mmconvnext')]
    best = max(others, default=None)
    table = Table(title=str(condition), box=box.SIMPLE_HEAD, title_justify='left')
    for column in ('', 'images/s', 'quartiles', 'to the best peer', 'peak MiB'):
        table.add_column(column, justify='right' if column else 'left')
    for row in rows:
        table.add_row(
            row['contender'],
            f'{row["images_per_second"]:.4g}',
            f'{row["lower_quartile"]:.4g}-{row["upper_quartile"]:.4g}',
            f'{row["images_per_second"] / best:.2f}' if best else '',
            '' if row['peak_mib'] is None else f'{row["peak_mib"]:,.0f}',
        )
    Console(width=100).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arch', nargs='+', default=['tiny'], help='networks, for example tiny or v2-base')
    parser.add_argument(
        '--mode',
        nargs='+',
        choices=['inference', 'training', 'pretraining'],
        default=['inference', 'training'],
    )
    parser.add_argument('--dtype', nargs='+', choices=['fp32', 'bf16'], default=['fp32'])
    parser.add_argument('--batch', nargs='+', type=int, default=[1, 8], help='batch sizes to measure')
    parser.add_argument('--size', type=int, default=224, help='image heights and widths in pixels')
    parser.add_argument(
        '--contenders',
        nargs='+',
        metavar='NAME',
        help='such as "mmconvnext optimized" "timm compiled"; default all installed except compiled ones',
    )
    parser.add_argument(
        '--rounds', type=int, default=7, help='timed rounds per contender; the median is reported'
    )
    parser.add_argument(
        '--quick', action='store_true', help='measure one network in few rounds without memory, in 3 minutes'
    )
    parser.add_argument(
        '--out', metavar='FILE', help='file of JSON lines to append to; default that of this repository'
    )
    parser.add_argument('--plot', metavar='FILE', help='image file for a bar chart')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(compare, parse_args())
