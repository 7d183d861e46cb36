"""Tables in docs/ that are generated from code, metafiles and measurements.

``python -m tests.tables`` updates them.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import compare as comparison
import int8 as int8_benchmark
from cells import accuracy, short
from mmengine.registry import init_default_scope
from page import grid

from mmconvnext.apis import load_config
from mmconvnext.models.block import ConvNeXtBlock
from mmconvnext.models.network import ARCHS
from mmconvnext.training.model import build_on_meta
from mmconvnext.zoo.entries import imagenet_classifiers, zoo
from mmconvnext.zoo.licenses import commercial_use, license_of
from tests.conftest import REPO

GPUS = 8
GIB = 2**30
MAX_PIXELS = 256


def memory() -> str:
    """Return a row for every arch; the text below the table in docs/training.md explains the formulas."""
    lines = [
        '| arch | million parameters | none | `ddp` '
        f'| `fsdp`, {GPUS} GPUs | ZeRO 1, {GPUS} GPUs | ZeRO 2, {GPUS} GPUs |',
        '|---|---:|---:|---:|---:|---:|---:|',
    ]
    base = load_config('convnext-tiny_32xb128_in1k')
    init_default_scope(base.default_scope)
    for arch, sizes in ARCHS.items():
        base.model.backbone.arch = arch
        base.model.head.in_channels = sizes['channels'][-1]
        model = build_on_meta(base)
        count = sum(p.numel() for p in model.parameters())
        blocks = [
            sum(p.numel() for p in module.parameters())
            for module in model.modules()
            if isinstance(module, ConvNeXtBlock)
        ]
        outside = count - sum(blocks)
        needs = [
            24 * count,
            20 * count,
            20 * count / GPUS + (4 + 4) * outside + (2 * 4 + 4) * max(blocks),
            8 * count + 12 * count / GPUS,
            4 * count + 16 * count / GPUS,
        ]
        row = [f'{count / 1e6:.1f}', *(f'{need / GIB:.2f}' for need in needs)]
        lines.append(f'| {arch} | {" | ".join(row)} |')
    return '\n'.join(lines)


def sizes() -> str:
    """Return the most accurate classifier of every arch, and the most accurate one for commercial use."""
    rows = []
    affordable = [e for e in imagenet_classifiers(zoo().values()) if e.resolution <= MAX_PIXELS and e.top1]
    for arch in ARCHS:
        of_arch = [entry for entry in affordable if entry.network.backbone['arch'] == arch]
        free = [entry for entry in of_arch if commercial_use(entry) == 'yes']
        # A dict removes duplicates.
        best = {max(some, key=lambda e: e.top1).name: None for some in (of_arch, free) if some}
        for place, entry in enumerate(map(zoo().get, best)):
            rows.append(
                [
                    '' if place else arch,
                    f'`{entry.name}`',
                    short(entry.parameters / 1e6),
                    short(entry.macs / 1e9),
                    str(entry.resolution),
                    accuracy(entry.top1),
                    license_of(entry),
                    commercial_use(entry),
                ]
            )
    header = ['Size', 'Name', 'Params, M', 'MACs, G', 'px', 'Top-1', 'License', 'Commercial']
    return grid(header, rows, numbers=[2, 3, 4, 5])


def speed() -> str:
    """Compare our latest measurements with those of the peers, per condition and processor."""
    runs = newest(comparison.RESULTS, ('mode', 'arch', 'dtype', 'batch', 'size'), 'contender')
    lines = []
    for (mode, arch, dtype, batch, size, processor), rows in sorted(runs.items(), reverse=True):
        if mode == 'pretraining':  # which no peer does
            continue
        ours = max((n for n in rows if n.startswith('mmconvnext')), key=lambda n: rate(rows[n]))
        peers = [row for name, row in rows.items() if not name.startswith('mmconvnext')]
        speeds = [
            ratio(rate(rows[ours]), max(map(rate, some)))
            for some in (peers, [rows['timm eager']], [rows['mmpretrain eager']])
        ]
        memory = [row['peak_mib'] for row in (rows[ours], *peers)]  # None: not measured
        images = f'{batch} image{"s" if batch > 1 else ""} of {size} px'
        lines.append(
            [
                f'{mode} {arch.title()}, {images}, {dtype}',
                processor,
                *speeds,
                'not measured' if None in memory else share(memory[0], min(memory[1:])),
            ]
        )
    header = ['', 'processor', 'best peer', 'timm', 'mmpretrain', 'peak memory']
    return grid(header, lines, numbers=[2, 3, 4, 5])


def ratio(ours: float, theirs: float) -> str:
    """Format a ratio of which larger is better, in bold where ours is ahead."""
    return f'**{ours / theirs:.2f}**' if ours / theirs >= 1.005 else f'{ours / theirs:.2f}'


def share(ours: float, theirs: float) -> str:
    """Format a ratio of which smaller is better, in bold where ours is ahead."""
    return f'**{ours / theirs:.2f}**' if ours / theirs < 0.995 else f'{ours / theirs:.2f}'


def int8() -> str:
    """Compare int8 with fp32 in the latest measurements per network, runtime and processor."""
    runs = newest(int8_benchmark.RESULTS, ('network', 'runtime'), 'form', 'batch')
    lines = []
    for (network, runtime, processor), rows in runs.items():
        batches = sorted({batch for _, batch in rows})
        fp32, small, everywhere = (rows[form, batches[0]] for form in ('fp32', 'int8', 'int8 everywhere'))
        speeds = [f'{rate(rows["int8", n]) / rate(rows["fp32", n]):.2f}' for n in batches]
        lines.append(
            [
                f'{"V2" if "use_grn" in network else "V1"}, {RUNTIMES[runtime]}',
                processor,
                f'{100 * fp32["top1"]:.1f} / {100 * small["top1"]:.1f}',
                f'{small["error"]:.2%}',
                f'{everywhere["error"]:.2%}',
                ' / '.join(speeds),
            ]
        )
    header = ['', 'processor', 'top-1 fp32 / int8', 'error', 'depthwise too', 'speed']
    return grid(header, lines, numbers=[2, 3, 4, 5])


RUNTIMES = {'onnxruntime': 'ONNX Runtime', 'openvino': 'OpenVINO'}


def newest(file: Path, condition: tuple[str, ...], *inside: str) -> dict[tuple, dict]:
    """Group rows by condition and processor, and keep the latest for each value of the other keys."""
    runs = {}
    for row in map(json.loads, file.read_text().splitlines()):
        about = row['conditions']
        processor = ' '.join(filter(None, (about['device'], about['instructions'])))
        key = (*(hashable(row[name]) for name in condition), processor)
        of_run = about['date'], about['commit']
        if key not in runs or runs[key][0] != of_run:
            runs[key] = of_run, {}
        name = tuple(row[part] for part in inside)
        runs[key][1][name if len(name) > 1 else name[0]] = row
    return {key: rows for key, (_, rows) in runs.items()}


def hashable(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict) else value


def rate(row: dict) -> float:
    return row['images_per_second']


# Mark of a table -> page, and the function that generates it.
TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    'memory': (REPO / 'docs/training.md', memory),
    'sizes': (REPO / 'docs/models.md', sizes),
    'speed': (REPO / 'docs/speed.md', speed),
    'int8': (REPO / 'docs/deploy.md', int8),
}


def between_marks(text: str, mark: str) -> re.Match:
    return re.search(rf'(<!-- {mark}: .*? -->\n)(.*?)(<!-- /{mark} -->)', text, re.DOTALL)


if __name__ == '__main__':
    for mark, (page, make) in TABLES.items():
        text = page.read_text()
        place = between_marks(text, mark)
        page.write_text(text[: place.start(2)] + make() + '\n' + text[place.end(2) :])
