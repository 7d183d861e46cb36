"""Draw a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..text import shortened
from .figures import save_figure

MAX_NUMBERS = 40  # classes up to which every cell tells its images
MAX_NAMES = 100  # classes up to which every row has its name
MAX_NAME_LENGTH = 24  # letters
MAX_TITLE_LENGTH = 80


def save_confusion(matrix: np.ndarray, classes: Sequence[str], out: str | Path, *, title: str = '') -> None:
    """Draw a confusion matrix with true classes as rows and predicted classes as columns.

    Colors show the fraction of the images of the true class, so that classes of any size can be compared, on
    a nonlinear scale that makes rare confusions visible. Numbers are images.

    Args:
        matrix: (classes, classes), images by true and predicted class.
        classes: class names.
        out: image file to write.
        title: what was tested, for the first line above the matrix.
    """
    size = len(matrix)
    side = float(np.clip(2.5 + 0.32 * size, 5, 14))  # inches, including the names
    figure = Figure(figsize=(side + 1.2, side), layout='constrained')
    axes = figure.subplots()
    parts = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    how = dict(cmap='Blues', norm=PowerNorm(0.5 if size <= MAX_NAMES else 0.35, vmin=0, vmax=1))
    drawn = axes.imshow(parts, **how) if size <= MAX_NAMES else draw_dots(axes, parts, **how)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.set_label('of the true class')
    right = np.trace(matrix)
    total = int(matrix.sum())
    accuracy = f'{right:,} of {total:,} images right ({right / max(total, 1):.1%})'
    axes.set_title(f'{shortened(title, MAX_TITLE_LENGTH)}\n{accuracy}'.strip(), fontsize=11)
    axes.set(xlabel='predicted class', ylabel='true class')
    if size <= MAX_NAMES:
        name_axes(axes, [shortened(name, MAX_NAME_LENGTH) for name in classes], points=points_for(size))
    else:
        axes.set(xlabel='label of the predicted class', ylabel='label of the true class')
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
    if size <= MAX_NUMBERS:
        write_numbers(axes, matrix, parts, points=points_for(size))
    save_figure(figure, out, dpi=120)


def draw_dots(axes: Axes, parts: np.ndarray, **how) -> PathCollection:
    """Draw a dot per cell, larger than the cell, which would be about a pixel; frequent ones on top."""
    rows, columns = np.nonzero(parts)
    values = parts[rows, columns]
    order = np.argsort(values)
    dots = axes.scatter(
        columns[order],
        rows[order],
        c=values[order],
        s=5 + 10 * values[order],
        marker='s',
        linewidths=0,
        **how,
    )
    axes.set(xlim=(-0.5, len(parts) - 0.5), ylim=(len(parts) - 0.5, -0.5), aspect='equal')
    return dots


def points_for(size: int) -> float:
    """Return the font size that fits a cell."""
    return float(np.clip(320 / size, 4.5, 11))


def name_axes(axes: Axes, names: list[str], points: float) -> None:
    places = range(len(names))
    for axis, rotation in ((axes.xaxis, 90 if len(names) > 5 else 0), (axes.yaxis, 0)):
        axis.set_ticks(places, names, fontsize=points, rotation=rotation)


def write_numbers(axes: Axes, matrix: np.ndarray, parts: np.ndarray, points: float) -> None:
    for row, column in zip(*np.nonzero(matrix), strict=True):
        shade = 'white' if parts[row, column] > 0.3 else 'black'
        axes.text(
            column, row, f'{matrix[row, column]}', ha='center', va='center', color=shade, fontsize=points
        )
