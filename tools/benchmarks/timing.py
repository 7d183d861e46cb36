"""Time functions in alternation, and record the conditions of measurements."""

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

# Minimum seconds per timing, long compared with the resolution of the clock and the overhead of a call.
SHORTEST_TIMING = 0.2


def time_interleaved(cases: dict[Hashable, Callable], rounds: int) -> dict[Hashable, list[float]]:
    """Return the seconds of one call per round for each case.

    Cases alternate, so that other load on the machine affects all of them equally. Each round has another
    order, because one case may slow down the next: threads of some runtimes keep spinning.
    """
    repeats = {}
    for case, call in cases.items():
        call()  # warm up caches, and choose algorithms on a GPU
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
    if torch.cuda.is_available():  # work may still be queued
        torch.cuda.synchronize()
    return (perf_counter() - start) / repeats


def speed(times: list[float], batch_size: int) -> dict[str, float]:
    """Return median and quartiles of images per second; extremes mostly show other load on the machine."""
    slow, middle, fast = quantiles([batch_size / seconds for seconds in times], n=4, method='inclusive')
    numbers = dict(images_per_second=middle, lower_quartile=slow, upper_quartile=fast)
    return {name: float(f'{number:.4g}') for name, number in numbers.items()}


def conditions_on(device: torch.device) -> dict:
    """Return the conditions of a measurement: processor, versions, commit and threads."""
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
        raise UserError(f'--rounds is {rounds}; expected at least 2, to measure the spread')


def results_file(out: str | Path | None, default: Path) -> Path:
    """Return the file for rows, and create its folder before the measurement, so that no result is lost."""
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
    except OSError:  # git is not installed
        return None
    return done.stdout.strip() or None
