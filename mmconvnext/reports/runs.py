"""Plot loss, learning rate, accuracy and throughput of one or more runs from the logs of mmengine."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..text import shortened
from .figures import check_figure_file, save_figure
from .run_logs import Run, read_run

MAX_NAME_LENGTH = 60  # letters of a run or a metric
MAX_METRICS = 20
MAX_VALUE = 1e30  # larger values overflow in the scales of axes
# Fewer points are drawn without smoothing.
MAX_POINTS_UNSMOOTHED = 100


def plot_runs(runs: list[str | Path], out: str | Path) -> None:
    """Plot several runs in one figure, over epochs if all of them count epochs.

    Args:
        runs: work dirs of ``tools/train.py``; a resumed run continues at its checkpoint.
        out: image file to write.

    Raises:
        UserError: a folder has no log, or the image cannot be written.
    """
    check_figure_file(out)
    read = [read_run(folder) for folder in runs]
    for run, folder in zip(read, runs, strict=True):
        if sum(other.name == run.name for other in read) > 1:
            run.name = str(folder)
    for run in read:
        run.name = label_of(run.name)
    by_epoch = all(run.epoch_length for run in read)

    figure = Figure(figsize=(12, 7), layout='constrained')
    (loss, accuracy), (lr, throughput) = figure.subplots(2, 2)
    accuracy.set(title='Validation')
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
    save_figure(figure, out, dpi=120)
    print(f'Wrote {out}')


def series(rows: dict[int, dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of the rows that have a scalar, in order, as two arrays (N,).

    Values that cannot be plotted are NaN.
    """
    steps = sorted(step for step, row in rows.items() if name in row)
    values = np.array([rows[step][name] for step in steps], float)
    values[~(np.abs(values) <= MAX_VALUE)] = np.nan
    return np.array(steps, float), values


def label_of(name: str) -> str:
    """Return a name for a legend; matplotlib omits labels that start with an underscore."""
    name = shortened(name, MAX_NAME_LENGTH)
    return f' {name}' if name.startswith('_') else name


def draw_smoothed(axes: Axes, steps: np.ndarray, values: np.ndarray, color: str, name: str) -> None:
    """Draw a line; a long one is pale, with a moving mean over a fiftieth of its length on top."""
    if len(values) <= MAX_POINTS_UNSMOOTHED:
        axes.plot(steps, values, color=color, label=name)
        return
    axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    axes.plot(steps, moving_mean(values, len(values) // 50), color=color, label=name)


def moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Return the mean of the values within half a width, ignoring NaN."""
    known = np.isfinite(values)
    window = np.ones(width)
    with np.errstate(invalid='ignore'):
        sums = np.convolve(np.where(known, values, 0), window, mode='same')
        return sums / np.convolve(known, window, mode='same')


def draw_metrics(axes: Axes, run: Run, scale: float, color: str, *, alone: bool) -> None:
    """Draw all metrics of a single run, or only the first of each of several runs."""
    no_metrics = ('step', 'time', 'data_time')
    names = sorted(
        {
            name
            for row in run.validation.values()
            for name, value in row.items()
            if name not in no_metrics and 'loss' not in name and abs(value) <= MAX_VALUE
        }
    )
    drawn = names[: MAX_METRICS if alone else 1]
    if alone and len(drawn) < len(names):
        axes.set_title(f'Validation: {len(drawn)} of {len(names)} metrics')
    for number, name in enumerate(drawn):
        steps, values = series(run.validation, name)
        short = label_of(name.removeprefix('accuracy/'))
        label = f'{short} {values[-1]:.2f} at the end, {np.nanmax(values):.2f} at best'
        axes.plot(
            steps * scale,
            values,
            color=f'C{number % 10}' if alone else color,
            marker='o',
            markersize=3 if len(values) < 50 else 0,
            label=label if alone else f'{run.name}: {label}',
        )
