"""Loss, learning rate, accuracy and throughput of one or several runs, from the logs of mmengine."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from ..errors import UserError
from ..files import check_writable, written_whole

# Fewer points than this are drawn as they are.
MOST_POINTS_UNSMOOTHED = 100


@dataclass
class Run:
    """What a run logged.

    Attributes:
        name: of its folder.
        training: iteration to scalars.
        validation: iteration, or epoch of a run by epochs, to scalars.
        epoch_length: iterations of an epoch; None for a run by iterations.
    """

    name: str
    training: dict[int, dict] = field(default_factory=dict)
    validation: dict[int, dict] = field(default_factory=dict)
    epoch_length: float | None = None


def plot_runs(runs: list[str | Path], out: str | Path) -> None:
    """Draw several runs into one picture, over epochs if all of them count epochs.

    Args:
        runs: work dirs of ``tools/train.py``; a resumed run goes on where its checkpoint was.
        out: image file.

    Raises:
        UserError: a folder has no log, or the picture cannot be written there.
    """
    check_figure_file(out)
    read = [read_run(folder) for folder in runs]
    for run, folder in zip(read, runs, strict=True):
        if sum(other.name == run.name for other in read) > 1:
            run.name = str(folder)
    by_epoch = all(run.epoch_length for run in read)

    figure = Figure(figsize=(12, 7), layout='constrained')
    (loss, accuracy), (lr, throughput) = figure.subplots(2, 2)
    for number, run in enumerate(read):
        color = f'C{number % 10}'
        unit = run.epoch_length if by_epoch else 1
        for axes, scalar in ((loss, 'loss'), (throughput, 'images_per_s')):
            steps, values = series(run.training, scalar)
            if len(values):
                draw_smoothed(axes, steps / unit, values, color, run.name)
        steps, values = series(run.training, 'lr')
        lr.plot(steps / unit, values, color=color)
        scale = 1 if by_epoch or not run.epoch_length else run.epoch_length
        draw_metrics(accuracy, run, scale, color, alone=len(read) == 1)

    loss.set(title='Training loss')
    accuracy.set(title='Validation')
    lr.set(title='Learning rate')
    throughput.set(title='Images per second', ylim=(0, None))
    for axes in (loss, accuracy, lr, throughput):
        axes.set_xlabel('epoch' if by_epoch else 'iteration')
        axes.grid(alpha=0.3)
        if not axes.lines:
            axes.text(0.5, 0.5, 'not logged', transform=axes.transAxes, ha='center', color='gray')
    if accuracy.lines:
        accuracy.legend(loc='lower right', fontsize='small')
    if len(read) > 1:
        figure.legend(*loss.get_legend_handles_labels(), loc='outside lower center', ncols=min(len(read), 4))
    else:
        figure.suptitle(read[0].name)
    with written_whole(Path(out)) as part:
        figure.savefig(part, dpi=120)
    print(f'Wrote {out}')


def check_figure_file(out: str | Path) -> None:
    """Raise UserError unless matplotlib can write the file, which may be there, before any work is done."""
    formats = FigureCanvasBase.get_supported_filetypes()
    if Path(out).suffix[1:].lower() not in formats:
        raise UserError(f'--out {out}: the name should end in one of .{", .".join(sorted(formats))}')
    check_writable(Path(out))


def read_run(folder: str | Path) -> Run:
    """The logs of a work dir, or of one of the dated folders in it, as one run.

    A run that was killed has logged beyond its last checkpoint. Where a later log begins, all that
    the earlier ones say of that iteration and of those after it is dropped.
    """
    logs = [
        *Path(folder).glob('vis_data/scalars.json'),
        *sorted(Path(folder).glob('*/vis_data/scalars.json')),
    ]
    run, iterations_of = Run(Path(folder).resolve().name), {}
    for log in logs:
        training, validation = {}, {}
        last = 0
        for line in log.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the last line of a run that was killed while writing it
                continue
            if 'iter' in row:
                last = row['iter']
                training[last] = row
            else:
                # Validation has no iteration of its own; an iteration-based run may count it as 0.
                step = row['step'] or last
                validation[step], iterations_of[step] = row, last
        start = min(training, default=None)
        if start is not None:
            run.training = {i: row for i, row in run.training.items() if i < start}
            run.validation = {
                step: row for step, row in run.validation.items() if iterations_of[step] < start
            }
        run.training.update(training)
        run.validation.update(validation)
    if not run.training:
        raise UserError(f'{folder} has no training log; name the work dir of a run that logged an iteration')
    # The last line of an epoch lies within a log interval of its end.
    run.epoch_length = max(
        (i / row['epoch'] for i, row in run.training.items() if row.get('epoch')), default=None
    )
    return run


def series(rows: dict[int, dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the rows that have a scalar, in order: two arrays (N,)."""
    steps = sorted(step for step, row in rows.items() if name in row)
    return np.array(steps, float), np.array([rows[step][name] for step in steps], float)


def draw_smoothed(axes, steps: np.ndarray, values: np.ndarray, color: str, name: str) -> None:
    """A line; a long one is pale, with its mean over a fiftieth of its length on top."""
    if len(values) <= MOST_POINTS_UNSMOOTHED:
        axes.plot(steps, values, color=color, label=name)
        return
    axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    axes.plot(steps, moving_mean(values, len(values) // 50), color=color, label=name)


def moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of the values at most half a width away, of fewer at both ends; NaN is left out."""
    known = np.isfinite(values)
    window = np.ones(width)
    with np.errstate(invalid='ignore'):
        sums = np.convolve(np.where(known, values, 0), window, mode='same')
        return sums / np.convolve(known, window, mode='same')


def draw_metrics(axes, run: Run, scale: float, color: str, *, alone: bool) -> None:
    """All metrics of a run that is alone, otherwise its first."""
    no_metrics = ('step', 'time', 'data_time')
    names = sorted(
        {
            name
            for row in run.validation.values()
            for name, value in row.items()
            if name not in no_metrics and 'loss' not in name and isinstance(value, (int, float))
        }
    )
    for number, name in enumerate(names if alone else names[:1]):
        steps, values = series(run.validation, name)
        short = name.removeprefix('accuracy/')
        label = f'{short} {values[-1]:.2f} at the end, {np.nanmax(values):.2f} at best'
        axes.plot(
            steps * scale,
            values,
            color=f'C{number % 10}' if alone else color,
            marker='o',
            markersize=3 if len(values) < 50 else 0,
            label=label if alone else f'{run.name}: {label}',
        )
