"""Results per class: accuracy, precision and confusions."""

import csv
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ..text import counted, csv_cell, listed, printable

MAX_ROWS = 20  # rows of the table in the log; the file has all


def distinct_names(classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Return distinct names for the given number of classes.

    Names of several classes, such as the two cranes of ImageNet, get the class number; without names, all are
    numbers.
    """
    names = tuple(map(str, classes or range(count)))
    uses = Counter(names)
    return tuple(name if uses[name] == 1 else f'{name} ({i})' for i, name in enumerate(names))


class ClassResult(NamedTuple):
    """Results of one class: its images, the correctly classified ones, and the most frequent confusion.

    ``predicted`` counts the images of all classes that were predicted as this class.
    """

    label: int
    name: str
    images: int
    correct: int
    confused_with: str
    confused_images: int
    predicted: int

    @property
    def accuracy(self) -> float | None:
        """Accuracy in percent; None without images."""
        return 100 * self.correct / self.images if self.images else None

    @property
    def precision(self) -> float | None:
        """Precision in percent; None if the class was never predicted."""
        return 100 * self.correct / self.predicted if self.predicted else None


def class_results(matrix: Tensor, names: tuple[str, ...]) -> list[ClassResult]:
    """Return the results of every class, in the order of the labels.

    Args:
        matrix: (classes, classes), images by true and predicted class.
        names: class names.
    """
    wrong = matrix.clone().fill_diagonal_(0)
    most, taken_for = (column.tolist() for column in wrong.max(dim=1))
    columns = (matrix.sum(1), matrix.diag(), matrix.sum(0))
    return [
        ClassResult(label, name, images, correct, names[other] if count else '', count, predicted)
        for label, (name, images, correct, predicted, other, count) in enumerate(
            zip(names, *(column.tolist() for column in columns), taken_for, most, strict=True)
        )
    ]


def worst_first(results: list[ClassResult]) -> list[ClassResult]:
    """Sort by accuracy, then by images; classes without images come last."""
    return sorted(results, key=lambda r: (r.accuracy is None, r.accuracy, -r.images))


def csv_of(results: list[ClassResult], source: str) -> str:
    text = StringIO()
    rows = csv.writer(text, lineterminator='\n')
    columns = ['label', 'class', 'images', 'correct', 'accuracy', 'confused_with', 'confused_images']
    rows.writerow([*columns, 'checkpoint'])
    for r in results:
        accuracy = '' if r.accuracy is None else f'{r.accuracy:.2f}'
        row = r.label, r.name, r.images, r.correct, accuracy, r.confused_with, r.confused_images or ''
        rows.writerow(map(csv_cell, (*row, source)))
    return text.getvalue()


def table_of(results: list[ClassResult]) -> str:
    """Return a table with the worst classes first, without those that have no images, for the log."""
    ranked = worst_first([r for r in results if r.images])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('Class', overflow='fold', max_width=40)
    for column in ('Images', 'Accuracy'):
        table.add_column(column, justify='right')
    table.add_column('Most often taken for', overflow='fold', max_width=48)
    for r in ranked[:MAX_ROWS]:
        taken = f'{printable(r.confused_with)} ({r.confused_images})' if r.confused_images else ''
        # With Text, brackets in names are not interpreted as styles.
        table.add_row(Text(printable(r.name)), f'{r.images}', f'{r.accuracy:.1f} %', Text(taken))
    text = StringIO()
    Console(file=text, width=120).print(table)
    lines = text.getvalue()
    if len(ranked) > MAX_ROWS:
        lines += f'These are the {MAX_ROWS} worst of {len(ranked)} classes.\n'
    if len(ranked) < len(results):
        without = [r.name for r in results if not r.images]
        lines += f'{counted(len(without), "class")} had no images here: {listed(without)}.\n'
    return lines
