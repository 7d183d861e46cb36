#!/usr/bin/env python
"""Compare accuracy and speed of a classifier in int8 and fp32, in ONNX Runtime and OpenVINO."""

import argparse
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from timing import append_rows, check_rounds, conditions_on, results_file, speed, time_interleaved
from torch import nn

from mmconvnext.command_line import run_tool
from mmconvnext.errors import UserError
from mmconvnext.export.checking import Accuracy, Run, accuracy
from mmconvnext.export.exporting import load_classifier
from mmconvnext.export.formats import Format, find_format, write
from mmconvnext.export.graph import Graph
from mmconvnext.export.images import Images, real_images
from mmconvnext.export.int8 import MAX_IMAGES, check_calibration, quantize

RESULTS = Path(__file__).parent / 'results/int8.jsonl'
RUNTIMES = {'onnx': 'onnxruntime', 'openvino': 'openvino'}
# Variant -> whether the depthwise convolutions stay in fp32.
FORMS = {'int8': True, 'int8 everywhere': False}


def compare_int8(
    config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    images: str | Path | None = None,
    batch: tuple[int, ...] = (1, 8),
    size: int = 224,
    rounds: int = 7,
    out: str | Path | None = None,
) -> None:
    """Export a classifier in fp32 and in int8, measure accuracies and speeds, and append rows to a file.

    Args:
        config: see ``export``.
        checkpoint: see ``export``.
        images: folder with one folder per class, see ``real_images``.
        batch: batch sizes to measure.
        size: image heights and widths for timing, in pixels; accuracies use the size of the model.
        rounds: timed rounds per variant, at least 2.
        out: file of JSON lines to append to; default: that of this repository.

    Raises:
        UserError: see ``export``; or too few rounds, or the classes of the images are unknown.
    """
    check_rounds(rounds)
    out = results_file(out, RESULTS)
    forms = {runtime: find_format(runtime, int8=True) for runtime in RUNTIMES}
    model = load_classifier(config, checkpoint, False)
    graph = Graph(model).eval()
    calibrating, testing = real_images(model, images)
    if not testing.labelled:
        raise UserError('to measure the accuracy, pass --images with one folder per class')
    check_calibration(graph, calibrating)
    rows = []
    for runtime, form in forms.items():
        with TemporaryDirectory() as folder:
            runs = make(form, graph, calibrating, Path(folder))
            found = {}
            for name, run in runs.items():
                found[name] = accuracy(run, graph, model, testing)
                print(f'{RUNTIMES[runtime]} {name}: {found[name]}')
            for count in batch:
                pixels = torch.randn(count, 3, size, size).numpy()
                cases = {name: partial(run, pixels) for name, run in runs.items()}
                for name, times in time_interleaved(cases, rounds).items():
                    condition = dict(batch=count, size=size, **speed(times, count), rounds=rounds)
                    rows.append(dict(runtime=RUNTIMES[runtime], form=name, **told(found[name]), **condition))
    about = dict(
        network=describe(model),
        model=Path(str(checkpoint or config)).name,
        calibrated=min(len(calibrating), MAX_IMAGES),
    )
    libraries = {name: version(name) for name in (*RUNTIMES.values(), 'nncf')}
    conditions = conditions_on(torch.device('cpu')) | libraries
    rows = [dict(**about, **row, conditions=conditions) for row in rows]
    show(rows)
    append_rows(rows, out)
    print(f'Appended to {out}')


def make(form: Format, graph: Graph, images: Images, folder: Path) -> dict[str, Run]:
    """Return a function for the file of fp32 and of every variant."""
    files = {name: folder / f'{name}{form.suffix}' for name in ('fp32', *FORMS)}
    example = graph.input_of(images.batch(0, 1)[0].repeat(2, 1, 1, 1))
    write(graph, example, form, {}, files['fp32'])
    for name, keep_depthwise in FORMS.items():
        quantize(form, files['fp32'], files[name], graph, images, keep_depthwise=keep_depthwise)
    return {name: form.load(file) for name, file in files.items()}


def told(found: Accuracy) -> dict:
    return dict(
        top1=found.file,
        top1_torch=found.torch,
        agreement=found.agreement,
        error=float(f'{found.error:.3g}'),
        tested=found.images,
    )


def describe(model: nn.Module) -> dict:
    settings = model._config.model.backbone.to_dict()
    return {key: settings[key] for key in ('arch', 'use_grn') if key in settings}


def show(rows: list[dict]) -> None:
    """Print a table with speeds relative to fp32 in the same runtime."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ('', 'top-1', 'as PyTorch', 'error', 'batch', 'images/s', 'to fp32'):
        table.add_column(column, justify='right' if column else 'left')
    for row in rows:
        plain = next(
            r['images_per_second']
            for r in rows
            if (r['runtime'], r['form'], r['batch']) == (row['runtime'], 'fp32', row['batch'])
        )
        table.add_row(
            f'{row["runtime"]} {row["form"]}',
            f'{row["top1"]:.2%}',
            f'{row["agreement"]:.2%}',
            f'{row["error"]:.2%}',
            str(row['batch']),
            f'{row["images_per_second"]:.4g}',
            f'{row["images_per_second"] / plain:.2f}',
        )
    Console(width=100).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config, name of model_zoo.md, or weights in any format')
    parser.add_argument(
        'checkpoint', nargs='?', help='other weights for the model; default those of the name or file'
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help="images in one folder per class, in train/ and val/ or directly; default the config's data",
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8], help='batch sizes to measure')
    parser.add_argument(
        '--size', type=int, default=224, help='image heights and widths for timing, in pixels'
    )
    parser.add_argument(
        '--rounds', type=int, default=7, help='timed rounds per variant; the median is reported'
    )
    parser.add_argument(
        '--out', metavar='FILE', help='file of JSON lines to append to; default that of this repository'
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(compare_int8, parse_args())
