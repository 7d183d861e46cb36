#!/usr/bin/env python
"""Measure the images per second of all ImageNet classifiers in the zoo, for model_zoo.md."""

import argparse
import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from timing import conditions_on, speed, time_interleaved

from mmconvnext.command_line import run_tool
from mmconvnext.errors import UserError
from mmconvnext.files import check_writable
from mmconvnext.zoo.entries import Entry, imagenet_classifiers, zoo

RESULTS = Path(__file__).parent / 'results/throughput.json'


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
    """Time the eager forward pass of every network at every resolution with published ImageNet-1k weights.

    Runs on a GPU in channels_last, or on the CPU in torch's default layout. The weights are random, because
    time does not depend on them.

    Args:
        out: JSON file to replace; default: the one that model_zoo.md quotes.
        entries: checkpoints to measure; default: the zoo.
        max_gmacs: skip networks with more billion multiply-accumulates per image.
        batch_size: images per forward pass.
        rounds: timed rounds per network, at least 2.
        threads: number of torch threads; default: one per core.
        amp: use autocast with bfloat16.

    Raises:
        UserError: no network is small enough, or there are too few rounds.
    """
    if rounds < 2:
        raise UserError(f'--rounds is {rounds}; expected at least 2, to measure the spread')
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
    """Return the forward passes to time; all resolutions of an architecture share one network."""
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
    """Write JSON with one row per line, so that diffs are readable."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ',\n'.join(f'    {json.dumps(row)}' for row in rows)
    out.write_text(f'{{\n  "conditions": {json.dumps(conditions)},\n  "rows": [\n{lines}\n  ]\n}}\n')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, metavar='FILE', help='JSON file to replace')
    parser.add_argument(
        '--max-gmacs',
        type=float,
        default=20,
        help='skip networks with more billion multiply-accumulates; default 20',
    )
    parser.add_argument('--batch-size', type=int, default=8, help='batch size; default 8')
    parser.add_argument('--rounds', type=int, default=5, help='timed rounds per network; default 5')
    parser.add_argument('--threads', type=int, help='default one per core')
    parser.add_argument('--amp', action='store_true', help='compute in bfloat16 by autocast')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(measure, parse_args())
