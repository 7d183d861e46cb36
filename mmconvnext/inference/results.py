"""Write predictions to a file, and print a summary of them."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..errors import UserError
from ..files import written_whole
from ..reports.annotated import MAX_CLASSES_SHOWN
from ..text import class_title, csv_cell, json_text, printable, score_text

MAX_ROWS = 50  # printed rows; files contain all
# List in a result (each result has one of them) -> field by which its items are ranked.
MEASURES = {'topk': 'score', 'objects': 'score', 'areas': 'share'}
# Fields that are too long for files: the scores of all classes, and the labels of all pixels.
LEFT_OUT = ('pred_scores', 'labels')


@contextmanager
def results_file(out: str | Path | None, layout: 'Layout') -> Iterator[Callable[[dict], None]]:
    """Yield a function that adds a result to a file, which only appears after all results are written."""
    if out is None:
        yield lambda result: None
        return
    out = Path(out)
    try:
        # File names may contain bytes that are not UTF-8.
        text = dict(encoding='utf-8', errors='backslashreplace', newline='')
        with written_whole(out) as part, part.open('w', **text) as file:
            writer = JSONWriter(file) if out.suffix == '.json' else CSVWriter(file, layout)
            yield writer.add
            writer.finish()
    except OSError as error:
        raise UserError(f'{out} was not written: {error}') from error


class JSONWriter:
    """Write a JSON list with one result per line."""

    def __init__(self, file: TextIO):
        self.file, self.before = file, '[\n'

    def add(self, result: dict) -> None:
        kept = {key: value for key, value in result.items() if key not in LEFT_OUT}
        self.file.write(self.before + json_text(kept))
        self.before = ',\n'

    def finish(self) -> None:
        self.file.write('\n]\n')


class Layout(NamedTuple):
    """Columns of a CSV file, and a function that fills them from a result.

    Attributes:
        header: names of the columns.
        rows: function that returns the rows of a result.
    """

    header: list[str]
    rows: Callable[[dict], Iterable[list]]


def class_layout(topk: int, *, multi_label: bool = False) -> Layout:
    """Return a layout with one row per image: its top classes, and those that reach the threshold."""
    fields = ('label', 'class', 'score')
    ranks = [f'{field}_{k}' for k in range(1, topk + 1) for field in fields]
    several = ['pred_labels'] if multi_label else []

    def rows(result: dict) -> list[list]:
        ranked = [best[field] for best in result.get('topk', ()) for field in fields]
        ranked += [None] * (3 * topk - len(ranked))
        predicted = [' '.join(map(str, result.get(key, ()))) for key in several]
        return [[result['path'], *ranked, *predicted, result.get('error')]]

    return Layout(['path', *ranks, *several, 'error'], rows)


def dense_layout(finds: str) -> Layout:
    """Return a layout with one row per object or area, or a row with only the path if there are none."""
    fields = ['label', 'class', MEASURES[finds]]
    box = ['left', 'top', 'right', 'bottom'] if finds == 'objects' else []

    def rows(result: dict) -> list[list]:
        return [
            [
                *(result['path'], *map(one.get, fields)),
                *(one.get('box') or [None] * len(box)),
                result.get('error'),
            ]
            for one in result.get(finds) or [{}]
        ]

    return Layout(['path', *fields, *box, 'error'], rows)


class CSVWriter:
    """Write rows in a layout, with text that spreadsheets do not interpret as formulas."""

    def __init__(self, file: TextIO, layout: Layout):
        self.writer, self.layout = csv.writer(file), layout
        self.writer.writerow(layout.header)

    def add(self, result: dict) -> None:
        self.writer.writerows(map(csv_cell, row) for row in self.layout.rows(result))

    def finish(self) -> None:
        pass


class Summary:
    """Summary printed at the end: a table of the first images, and the images that could not be read.

    Args:
        finds: a key of ``MEASURES``.
        percent: whether scores are fractions of 1, unlike those of a regression.
    """

    def __init__(self, finds: str, *, percent: bool = True):
        self.finds, self.measure, self.percent = finds, MEASURES[finds], percent
        self.total, self.broken = 0, 0
        self.rows, self.reasons = [], []

    def add(self, result: dict) -> None:
        self.total += 1
        path = f'image {self.total}' if result['path'] is None else printable(result['path'])
        if 'error' in result:
            self.broken += 1
            if len(self.reasons) < MAX_ROWS:
                self.reasons.append(f'  {path}: {printable(result["error"])}')
        elif len(self.rows) < MAX_ROWS:
            found = [
                (class_title(one), score_text(one[self.measure], self.percent))
                for one in result[self.finds][:MAX_CLASSES_SHOWN]
            ]
            count = 1
            if 'pred_labels' in result:  # ranked by score, so those that reach the threshold come first
                count = len(result['pred_labels'])
            elif not found:
                found = [('nothing', '')]
            names, scores = zip(*found[:count], strict=True) if count else (['none'], [''])
            others = '; '.join(map(' '.join, found[count:]))
            self.rows.append((path, '; '.join(names), '; '.join(scores), others))

    def show(self, out: str | None, out_dir: str | None) -> None:
        """Print the summary.

        Raises:
            UserError: some images could not be read; the message lists them.
        """
        where = f'in {out}' if out else 'written with --out results.csv'
        done = self.total - self.broken
        if hasattr(sys.stdout, 'reconfigure'):
            sys.stdout.reconfigure(errors='backslashreplace')  # for letters that the terminal cannot encode
        if self.rows:
            # A pipe has no width.
            Console(width=None if sys.stdout.isatty() else 120).print(self.table())
        if done > MAX_ROWS:
            print(f'The table shows the first {MAX_ROWS} of {done:,} images; all are {where}')
        if out:
            print(f'Wrote {out}')
        if out_dir and done:
            print(f'Wrote {done:,} annotated {"image" if done == 1 else "images"} into {out_dir}')
        if self.broken:
            more = self.broken - len(self.reasons)
            raise UserError(
                f'{self.broken:,} of {self.total:,} images could not be read; the others are done:\n'
                + '\n'.join(self.reasons)
                + (f'\n  and {more:,} more; all are {where}' if more else '')
            )

    def table(self) -> Table:
        table = Table(header_style='bold', box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column('Image', overflow='fold', max_width=48)
        table.add_column('Class', style='bold', overflow='fold')
        table.add_column(self.measure.capitalize(), justify='right')
        table.add_column('Then', style='dim', overflow='fold')
        for row in self.rows:
            table.add_row(*map(Text, row))  # rich would interpret brackets in plain strings as styles
        return table


def track(results: Iterable[dict], total: int) -> Iterator[dict]:
    """Yield the results, with a progress bar if stderr is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn('Predicting'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(results, total=total)
