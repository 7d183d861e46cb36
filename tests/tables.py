"""Tables of docs/ that follow from code and metafiles: python -m tests.tables writes them anew."""

import re
from collections.abc import Callable
from pathlib import Path

from mmconvnext.apis import load_config
from mmconvnext.apis.runner import build_on_meta
from mmconvnext.models.archs import ARCHS
from mmconvnext.models.convnext import ConvNeXtBlock
from mmconvnext.zoo.entries import zoo
from mmconvnext.zoo.markdown import accuracy, commercial_use, grid, license_of, short
from mmconvnext.zoo.throughput import imagenet_classifiers
from tests.conftest import REPO

GPUS = 8
GIB = 2**30
MOST_PIXELS = 256


def memory() -> str:
    """Rows for every arch, see the text below them for the formulas."""
    lines = [
        '| arch | million parameters | none | `ddp` '
        f'| `fsdp`, {GPUS} GPUs | ZeRO 1, {GPUS} GPUs | ZeRO 2, {GPUS} GPUs |',
        '|---|---:|---:|---:|---:|---:|---:|',
    ]
    base = load_config('convnext-tiny_32xb128_in1k')
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
    """Of every arch the most accurate classifier, and the most accurate for commercial use."""
    rows = []
    affordable = [e for e in imagenet_classifiers(zoo().values()) if e.resolution <= MOST_PIXELS and e.top1]
    for arch in ARCHS:
        of_arch = [entry for entry in affordable if entry.network.backbone['arch'] == arch]
        free = [entry for entry in of_arch if commercial_use(entry) == 'yes']
        # A dict keeps one of two that are the same.
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


# Its mark -> page and maker.
TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    'memory': (REPO / 'docs/training.md', memory),
    'sizes': (REPO / 'docs/models.md', sizes),
}


def between_marks(text: str, mark: str) -> re.Match:
    return re.search(rf'(<!-- {mark}: .*? -->\n)(.*?)(<!-- /{mark} -->)', text, re.DOTALL)


if __name__ == '__main__':
    for mark, (page, make) in TABLES.items():
        text = page.read_text()
        place = between_marks(text, mark)
        page.write_text(text[: place.start(2)] + make() + '\n' + text[place.end(2) :])
