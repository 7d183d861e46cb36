"""How many images a second the classifiers of the zoo see, and under which conditions."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Hashable, Iterable
from datetime import date
from functools import partial
from math import ceil
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import torch
from mmengine.registry import MODELS, init_default_scope

from ..errors import UserError
from .entries import MODEL_INDEX, Entry, zoo

RESULTS = MODEL_INDEX.resolve().parent / 'tools/benchmarks/results/throughput.json'
# Seconds that one timing lasts at least; the clock and a call's overhead are small against it.
SHORTEST_TIMING = 0.2


def imagenet_classifiers(entries: Iterable[Entry]) -> list[Entry]:
    """Those with the 1000 classes of ImageNet-1k."""
    return [entry for entry in entries if (entry.task, entry.num_classes) == ('Image Classification', 1000)]


def measure(
    out: str | Path | None = None,
    *,
    entries: Iterable[Entry] | None = None,
    max_gmacs: float = 20,
    batch_size: int = 8,
    rounds: int = 5,
    threads: int | None = None,
    amp: bool = False,
) -> None:
    """Time the eager forward pass of every network at every resolution it has ImageNet-1k weights for.

    On a GPU in channels_last; without one on the CPU, in torch's usual layout. The weights are random:
    time does not depend on them.

    Args:
        out: JSON file, replaced; default: the one that model_zoo.md quotes.
        entries: of these; default: of the zoo.
        max_gmacs: leave out networks above so many billion multiply-accumulates an image.
        batch_size: images at a time.
        rounds: timings of each network, at least 2.
        threads: of torch; default: one a core.
        amp: compute in bfloat16 where torch's autocast does.

    Raises:
        UserError: nothing is small enough, or one round is to show a spread.
    """
    if rounds < 2:
        raise UserError(f'--rounds is {rounds}; the spread of a measurement takes at least 2')
    chosen = {
        (entry.architecture, entry.resolution): entry
        for entry in imagenet_classifiers(zoo().values() if entries is None else entries)
        if entry.macs <= max_gmacs * 1e9
    }
    if not chosen:
        raise UserError(f'no classifier of the zoo has at most {max_gmacs} GMACs; raise --max-gmacs')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or os.cpu_count())
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
            seconds = time_interleaved(forward_passes(chosen, batch_size, device), rounds)
        conditions = conditions_on(device, batch_size=batch_size, rounds=rounds, amp=amp)
    finally:
        torch.set_num_threads(threads_before)
    out = RESULTS if out is None else Path(out)
    rows = [
        dict(architecture=architecture, resolution=resolution, **speed(times, batch_size))
        for (architecture, resolution), times in seconds.items()
    ]
    write_results(conditions, rows, out)
    print(f'Wrote {out}')


def speed(times: list[float], batch_size: int) -> dict[str, float]:
    """Median and quartiles; extremes would say what else the machine did."""
    slow, middle, fast = quantiles([batch_size / seconds for seconds in times], n=4, method='inclusive')
    numbers = dict(images_per_second=middle, lower_quartile=slow, upper_quartile=fast)
    return {name: float(f'{number:.4g}') for name, number in numbers.items()}


def forward_passes(
    chosen: dict[tuple[str, int], Entry], batch_size: int, device: torch.device
) -> dict[tuple[str, int], Callable]:
    """For each of the chosen, what there is to time; resolutions share their network."""
    init_default_scope('mmpretrain')
    layout = layout_on(device)
    models = {
        architecture: MODELS.build(entry.network.config()).to(device, memory_format=layout).eval()
        for (architecture, _), entry in chosen.items()
    }
    images = {
        resolution: torch.randn(batch_size, 3, resolution, resolution, device=device).to(memory_format=layout)
        for _, resolution in chosen
    }

    return {
        (architecture, resolution): partial(models[architecture], images[resolution])
        for architecture, resolution in sorted(chosen, key=lambda case: chosen[case].macs)
    }


def layout_on(device: torch.device) -> torch.memory_format:
    return torch.channels_last if device.type == 'cuda' else torch.contiguous_format


def time_interleaved(cases: dict[Hashable, Callable], rounds: int) -> dict[Hashable, list[float]]:
    """Seconds of one call, once a round for each case.

    In turns, so that whatever else the machine does at a time falls on all cases alike.
    """
    repeats = {}
    for case, call in cases.items():
        call()  # warms up caches, and picks algorithms on a GPU
        repeats[case] = ceil(SHORTEST_TIMING / time(call))
    seconds = {case: [] for case in cases}
    for _ in range(rounds):
        for case, call in cases.items():
            seconds[case].append(time(call, repeats[case]))
    return seconds


def time(call: Callable, repeats: int = 1) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    if torch.cuda.is_available():  # whose work may still be queued
        torch.cuda.synchronize()
    return (perf_counter() - start) / repeats


def conditions_on(device: torch.device, *, batch_size: int, rounds: int, amp: bool) -> dict:
    """What the numbers travel with."""
    return dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else cpu_name(),
        instructions=None if device.type == 'cuda' else torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        dtype='bfloat16 autocast' if amp else 'float32',
        layout=str(layout_on(device)).removeprefix('torch.'),
        batch_size=batch_size,
        rounds=rounds,
        torch=torch.__version__,
        commit=commit(),
        date=date.today().isoformat(),
    )


def cpu_name() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """Of this checkout, marked where files differ from it; None outside of one."""
    command = ['git', 'describe', '--always', '--dirty', '--exclude=*']
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:  # there is no git
        return None
    return done.stdout.strip() or None


def write_results(conditions: dict, rows: list[dict], out: Path) -> None:
    """JSON with one row a line, so that a diff shows what changed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ',\n'.join(f'    {json.dumps(row)}' for row in rows)
    out.write_text(f'{{\n  "conditions": {json.dumps(conditions)},\n  "rows": [\n{lines}\n  ]\n}}\n')


def read_results(path: str | Path = RESULTS) -> tuple[dict, dict[tuple[str, int], dict]]:
    """Conditions, and the row of each (architecture, resolution); empty where nothing was measured."""
    if not Path(path).exists():
        return {}, {}
    results = json.loads(Path(path).read_text())
    return results['conditions'], {(r['architecture'], r['resolution']): r for r in results['rows']}
