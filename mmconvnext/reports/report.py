"""Write the HTML report of a test: accuracy, confusions, classes, and mistakes with pictures."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from .class_results import ClassResult, class_results, worst_first
from .confusion import MAX_NAMES, save_confusion
from .page import data_url, escaped, figure, percent, section, write_page
from .predictions import MAX_DOUBTS, MAX_MISTAKES, Prediction, confusion_matrix

MAX_CONFUSIONS = 15


def save_report(
    predictions: Sequence[Prediction], names: Sequence[str], out: str | Path, *, title: str, detail: str
) -> None:
    """Write the page.

    Args:
        predictions: predictions for all images of the test.
        names: class names.
        out: HTML file to write.
        title: what was tested.
        detail: conditions of the test.
    """
    matrix = confusion_matrix(predictions, len(names))
    classes = class_results(matrix, tuple(names))
    sections = [
        f'<h1>{escaped(title)}</h1>\n<p class="faint">{escaped(detail)}</p>',
        tiles(predictions, classes),
        mistakes(predictions, names),
        confusions(matrix, names),
        class_table(classes),
        doubts(predictions, names),
    ]
    write_page(Path(out), f'{title}: report', '\n'.join(sections))


def tiles(predictions: Sequence[Prediction], classes: list[ClassResult]) -> str:
    """Return the numbers at the top."""
    accuracies = [each.accuracy for each in classes if each.images]
    right = [p.score for p in predictions if p.right]
    wrong = [p.score for p in predictions if not p.right]
    figures = [
        ('accuracy', percent(len(right) / len(predictions))),
        ('mean over the classes', percent(np.mean(accuracies) / 100)),
    ]
    if len(classes) > 5:
        among = sum(p.rank < 5 for p in predictions)
        figures.append(('within the top five', percent(among / len(predictions))))
    figures += [
        ('images', f'{len(predictions):,}'),
        ('mistakes', f'{len(wrong):,}'),
        ('mean score where right', percent(np.mean(right)) if right else '–'),
        ('mean score where wrong', percent(np.mean(wrong)) if wrong else '–'),
    ]
    return (
        '<div class="tiles">'
        + ''.join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in figures)
        + '</div>'
    )


def mistakes(predictions: Sequence[Prediction], names: Sequence[str]) -> str:
    wrong = sorted((p for p in predictions if not p.right), key=lambda p: -p.score)
    if not wrong:
        return section('Mistakes', 'There are none.', '')
    shown = wrong[:MAX_MISTAKES]
    captions = [
        f'<b class="wrong">{escaped(names[p.label])}</b> {percent(p.score)}<br>is {escaped(names[p.truth])}'
        for p in shown
    ]
    what = 'All mistakes' if len(shown) == len(wrong) else f'{len(shown)} of {len(wrong):,} mistakes'
    return section('Most confident mistakes', f'{what}, the highest score first.', gallery(shown, captions))


def doubts(predictions: Sequence[Prediction], names: Sequence[str]) -> str:
    right = sorted((p for p in predictions if p.right), key=lambda p: p.score)[:MAX_DOUBTS]
    captions = [f'<b class="right">{escaped(names[p.label])}</b> {percent(p.score)}' for p in right]
    return section('Least certain right ones', 'The lowest score first.', gallery(right, captions))


def gallery(predictions: Sequence[Prediction], captions: Sequence[str]) -> str:
    figures = [
        figure(p.image, caption + (f'<small>{escaped(p.path)}</small>' if p.path else ''))
        for p, caption in zip(predictions, captions, strict=True)
    ]
    return f'<div class="gallery">{"".join(figures)}</div>'


def confusions(matrix: torch.Tensor, names: Sequence[str]) -> str:
    """Return the confusion matrix as a picture, and the most frequent confusions."""
    kind = 'svg' if len(names) <= MAX_NAMES else 'png'
    with TemporaryDirectory() as folder:
        file = Path(folder, f'matrix.{kind}')
        save_confusion(matrix.numpy(), names, file)
        url = data_url(file.read_bytes(), 'svg+xml' if kind == 'svg' else kind)
    wrong = matrix.clone().fill_diagonal_(0)
    rows = [
        [
            escaped(names[true]),
            escaped(names[taken]),
            number(int(wrong[true, taken])),
            share(float(wrong[true, taken] / matrix[true].sum())),
        ]
        for true, taken in (
            divmod(place, len(names))
            for place in wrong.flatten().argsort(descending=True, stable=True)[:MAX_CONFUSIONS].tolist()
        )
        if wrong[true, taken]
    ]
    listed = table(['Class', 'taken for', '#images', '#of the class'], rows) if rows else ''
    return section(
        'Confusions',
        'True classes from top to bottom, predicted ones from left to right.',
        f'<div class="columns"><img class="sheet" alt="confusion matrix" src="{url}">{listed}</div>',
    )


def class_table(classes: list[ClassResult]) -> str:
    """Return a table of all classes, lowest accuracy first."""
    rows = [
        [
            escaped(each.name),
            number(each.images),
            share(None if each.accuracy is None else each.accuracy / 100),
            share(None if each.precision is None else each.precision / 100),
            escaped(f'{each.confused_with} ({each.confused_images:,})' if each.confused_images else ''),
        ]
        for each in worst_first(classes)
    ]
    return section(
        'Classes',
        'Accuracy: part of the images of a class that are told. Precision: part of the images taken for a '
        'class that are of it. A click on a column’s head sorts by it.',
        table(['Class', '#images', '#accuracy', '#precision', 'most often taken for'], rows),
    )


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a sortable table; columns with # in their head have numbers from ``number`` and ``share``."""
    row = ''.join(
        f'<th{" class=number" * head.startswith("#")}><button>{head.removeprefix("#")}</button></th>'
        for head in heads
    )
    body = '\n'.join(
        '<tr>' + ''.join(cell if cell.startswith('<td') else f'<td>{cell}</td>' for cell in cells) + '</tr>'
        for cells in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{row}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def number(count: int) -> str:
    return f'<td class="number" data-value="{count}">{count:,}</td>'


def share(part: float | None) -> str:
    """Return a bar and a percentage, or an empty cell for None."""
    if part is None:
        return '<td class="number" data-value="-1">–</td>'
    bar = f'<span class="bar"><i style="width:{part:.1%}"></i></span>'
    return f'<td class="number" data-value="{part:.6f}">{bar}{percent(part)}</td>'
