"""Times of calls in turns, and the conditions they were measured under."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Hashable
from datetime import date
from math import ceil
from pathlib import Path
from random import Random
from statistics import quantiles
from time import perf_counter

import torch

from mmconvnext.errors import UserError

# Seconds that one timing lasts at least; the clock and a call's overhead are small against it.
SHORTEST_TIMING = 0.2


def time_interleaved(cases: dict[Hashable, Callable], rounds: int) -> dict[Hashable, list[float]]:
    """Seconds of one call, once a round for each case.

    In turns, so that whatever else the machine does at a time falls on all cases alike; and each round in
    another order, since a case may slow down the next: threads of some runtimes go on spinning.
    """
    repeats = {}
    for case, call in cases.items():
        call()  # warms up caches, and picks algorithms on a GPU
        repeats[case] = ceil(SHORTEST_TIMING / time(call))
    seconds = {case: [] for case in cases}
    order = Random(0)
    for _ in range(rounds):
        for case in order.sample(list(cases), len(cases)):
            seconds[case].append(time(cases[case], repeats[case]))
    return seconds


def time(call: Callable, repeats: int = 1) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    if torch.cuda.is_available():  # whose work may still be queued
        torch.cuda.synchronize()
    return (perf_counter() - start) / repeats


def speed(times: list[float], batch_size: int) -> dict[str, float]:
    """Median and quartiles; extremes would say what else the machine did."""
    slow, middle, fast = quantiles([batch_size / seconds for seconds in times], n=4, method='inclusive')
    numbers = dict(images_per_second=middle, lower_quartile=slow, upper_quartile=fast)
    return {name: float(f'{number:.4g}') for name, number in numbers.items()}


def conditions_on(device: torch.device) -> dict:
    """What the numbers travel with."""
    return dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else cpu_name(),
        instructions=None if device.type == 'cuda' else torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        commit=commit(),
        date=date.today().isoformat(),
    )


def check_rounds(rounds: int) -> None:
    if rounds < 2:
        raise UserError(f'--rounds is {rounds}; the spread of a measurement takes at least 2')


def results_file(out: str | Path | None, default: Path) -> Path:
    """Where rows go; its folder is made before the measurement, which would be lost."""
    out = default if out is None else Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def append_rows(rows: list[dict], file: Path) -> None:
    """Append rows to a file of JSON lines."""
    with file.open('a') as lines:
        lines.writelines(json.dumps(row) + '\n' for row in rows)


def cpu_name() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the commit of this checkout, marked if files differ from it; None outside of a checkout."""
    command = ['git', 'describe', '--always', '--dirty', '--exclude=*']
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:  # there is no git
        return None
    return done.stdout.strip() or None
