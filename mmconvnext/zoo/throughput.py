"""How many images a second the classifiers of the zoo see, and under which conditions."""

import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from ..benchmark.timing import conditions_on, speed, time_interleaved
from ..errors import UserError
from ..files import check_writable
from .entries import MODEL_INDEX, Entry, zoo

RESULTS = MODEL_INDEX.resolve().parent / 'tools/benchmarks/results/throughput.json'


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
    out = RESULTS if out is None else Path(out)
    check_writable(out)
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
        conditions = conditions_on(device) | dict(
            dtype='bfloat16 autocast' if amp else 'float32',
            layout=str(layout_on(device)).removeprefix('torch.'),
            batch_size=batch_size,
            rounds=rounds,
        )
    finally:
        torch.set_num_threads(threads_before)
    rows = [
        dict(architecture=architecture, resolution=resolution, **speed(times, batch_size))
        for (architecture, resolution), times in seconds.items()
    ]
    write_results(conditions, rows, out)
    print(f'Wrote {out}')


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
