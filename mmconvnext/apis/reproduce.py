"""Measure the published accuracies of checkpoints."""

import json
import logging
import platform
from collections.abc import Iterable
from datetime import date
from fnmatch import filter as matching
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log

from ..engine.processes import init_distributed
from ..errors import UserError, did_you_mean
from ..files import check_writable, written_whole
from ..text import json_text
from ..training.explaining import naming_broken_images
from ..training.runner import build_runner
from ..version import __version__
from ..zoo.entries import MODEL_INDEX, Entry, read_model_index
from ..zoo.models import fill
from ..zoo.names import Named, config_of_network, load_weights

# Larger differences, in percentage points, are marked.
TOLERANCE = 0.1


def reproduce(
    names: Iterable[str],
    data_root: str | Path,
    *,
    out: str | Path = 'work_dirs/reproduced.md',
    model_index: str | Path = MODEL_INDEX,
    batch_size: int = 64,
    num_workers: int = 4,
    trust_checkpoint: bool = False,
) -> list[dict]:
    """Test published checkpoints and compare the accuracies with those of their sources.

    Args:
        names: names or patterns such as ``*v2-atto*``; matches of a pattern without a published top-1 are
            skipped.
        data_root: ImageNet folder with ``val/CLASS/IMAGE``.
        out: Markdown table to write; rows are stored beside it as JSON, and existing rows for the same
            weights and data are not measured again.
        model_index: model-index.yml whose metafiles list the checkpoints.
        batch_size: images per batch.
        num_workers: number of processes that load images.
        trust_checkpoint: see ``load_checkpoint``.

    Returns:
        The rows of the table, those of earlier runs first.

    Raises:
        UserError: a name is unknown, the data is missing, or, at the end, some rows failed.
    """
    out = Path(out)
    chosen = choose(read_model_index(model_index), names)
    if not (Path(data_root) / 'val').is_dir():
        raise UserError(f'{data_root} has no folder val/; expected val/CLASS/IMAGE inside, as of ImageNet')
    if out.suffix != '.md':
        raise UserError(f'--out {out} ends in {out.suffix!r}; expected .md, the rows go to .json beside it')
    check_writable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows, failed = read_rows(out.with_suffix('.json')), []
    for entry in chosen:
        key = dict(name=entry.name, weights=entry.weights, data_root=str(Path(data_root).resolve()))
        if any(key.items() <= row.items() for row in rows):
            print_log(f'{entry.name}: measured before, see {out}', logger='current')
            continue
        try:
            measured = measure(entry, data_root, out, batch_size, num_workers, trust_checkpoint)
        except UserError as error:
            print_log(f'{entry.name}: {error}', logger='current', level=logging.ERROR)
            failed.append(entry.name)
            continue
        rows.append({**key, **compared(entry, measured), **conditions()})
        write_rows(rows, out)
    print(table(rows))
    if failed:
        raise UserError(
            f'{len(failed)} of {len(chosen)} could not be measured: {", ".join(failed)}; see above'
        )
    return rows


def choose(entries: dict[str, Entry], names: Iterable[str]) -> list[Entry]:
    chosen = {}
    for name in names:
        if name in entries:
            if entries[name].top1 is None:
                raise UserError(f'{name} has no published accuracy on ImageNet-1k to compare with')
            chosen[name] = entries[name]
            continue
        found = [found for found in matching(entries, name) if entries[found].top1 is not None]
        if not found:
            raise UserError(f'the zoo has no {name!r} with a published accuracy{did_you_mean(name, entries)}')
        chosen.update((each, entries[each]) for each in found)
    return list(chosen.values())


def measure(
    entry: Entry, data_root: str | Path, out: Path, batch_size: int, num_workers: int, trust_checkpoint: bool
) -> dict[str, float]:
    """Return metric name -> percent."""
    named = Named(entry.name, entry)
    loaded = load_weights(named, trust=trust_checkpoint)
    preprocessing = loaded.preprocessing
    cfg = named.config if preprocessing is None else config_of_network(loaded.network, preprocessing)
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader = dict(
        batch_size=batch_size,
        num_workers=num_workers,
        dataset=dict(type='CustomDataset', data_root=str(data_root), data_prefix='val', pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    cfg.test_evaluator = ConfigDict(type='Accuracy', topk=(1, 5))
    cfg.load_from, cfg.work_dir = None, str(out.with_suffix('') / entry.name)
    for unused in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'val_dataloader'):
        cfg.pop(unused, None)
    for unused in ('val_cfg', 'val_evaluator', 'custom_hooks', 'auto_scale_lr'):
        cfg.pop(unused, None)
    init_distributed(cfg, 'none')
    runner = build_runner(cfg, ('test_dataloader',))
    fill(runner.model, loaded, new_head=False)
    with naming_broken_images():
        metrics = runner.test()
    return {**metrics, 'images': len(runner.test_dataloader.dataset)}


def compared(entry: Entry, measured: dict[str, float]) -> dict:
    top1, top5 = (round(measured[f'accuracy/top{k}'], 3) for k in (1, 5))
    difference = round(top1 - entry.top1, 3)
    return dict(
        top1=top1,
        published_top1=entry.top1,
        difference=difference,
        differs=abs(difference) > TOLERANCE,
        top5=top5,
        published_top5=entry.top5,
        images=measured['images'],
        resolution=entry.resolution,
    )


def conditions() -> dict:
    cuda = torch.cuda.is_available()
    return dict(
        device=torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        torch=torch.__version__,
        mmconvnext=__version__,
        date=f'{date.today()}',
    )


def read_rows(file: Path) -> list[dict]:
    if not file.exists():
        return []
    try:
        rows = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{file} holds no rows of an earlier run ({error}); move it away') from error
    if not isinstance(rows, list):
        raise UserError(f'{file} holds no rows of an earlier run, but a {type(rows).__name__}; move it away')
    return rows


def write_rows(rows: list[dict], out: Path) -> None:
    for file, content in ((out.with_suffix('.json'), json_text(rows, indent=1)), (out, table(rows))):
        with written_whole(file) as part:
            part.write_text(f'{content}\n', encoding='utf-8')


def table(rows: list[dict]) -> str:
    """Return a Markdown table of published and measured accuracies, with large differences in bold."""
    lines = [
        '| checkpoint | px | images | top-1 published | measured | difference | top-5 published | measured |',
        '|---|--:|--:|--:|--:|--:|--:|--:|',
    ]
    for row in rows:
        difference = f'{row["difference"]:+.2f}'
        cells = (
            f'`{row["name"]}`',
            row['resolution'],
            row['images'],
            row['published_top1'],
            f'{row["top1"]:.2f}',
            f'**{difference}**' if row['differs'] else difference,
            '-' if row['published_top5'] is None else row['published_top5'],
            f'{row["top5"]:.2f}',
        )
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)
