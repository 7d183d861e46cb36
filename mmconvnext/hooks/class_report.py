"""How well is each class told, and what is it taken for?"""

import csv
from io import StringIO
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.evaluation import ConfusionMatrix
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ..evaluation.class_results import ClassResult, class_results, distinct_names
from ..files import written_whole
from ..registry import HOOKS
from ..text import csv_cell, printable
from ..visualization.confusion import save_confusion

MOST_ROWS = 20  # of the table in the log; the file has all


class Confusions(ConfusionMatrix):
    """mmpretrain's matrix, kept here: as a value to log, it would fill every line and checkpoint."""

    matrix: Tensor | None = None

    def compute_metrics(self, results: list) -> dict:
        self.matrix = super().compute_metrics(results)['result']
        return {}


@HOOKS.register_module()
class ClassReportHook(Hook):
    """Reports every class of the last validation at the end of a training, and of a test.

    Into the log goes a table, worst classes first. ``classes.csv`` with all of them and
    ``confusion_matrix.png`` go into the work dir after a training, and into the folder of the test's log
    after a test, which leaves those of the training alone. For classifiers with one label an image.
    """

    # Behind the hooks that log the validation and save checkpoints.
    priority = 'VERY_LOW'

    def __init__(self):
        self.confusions = Confusions()

    def before_val(self, runner: Runner) -> None:
        self.listen(runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        self.listen(runner.test_evaluator)

    def after_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            self.report(runner, runner.val_dataloader.dataset, 'last validation', Path(runner.work_dir))

    def after_test(self, runner: Runner) -> None:
        self.report(runner, runner.test_dataloader.dataset, 'test', Path(runner.log_dir))

    def listen(self, evaluator: Evaluator) -> None:
        if self.confusions not in evaluator.metrics:
            evaluator.metrics.append(self.confusions)

    @master_only
    def report(self, runner: Runner, dataset: BaseDataset, occasion: str, folder: Path) -> None:
        matrix = self.confusions.matrix
        if matrix is None:  # training ended before the first validation
            return
        names = distinct_names(dataset.metainfo.get('classes'), len(matrix))
        results = class_results(matrix, names)
        with written_whole(folder / 'classes.csv') as part:
            part.write_text(csv_of(results), encoding='utf-8')
        with written_whole(folder / 'confusion_matrix.png') as part:
            save_confusion(matrix.numpy(), names, part)
        runner.logger.info(
            f'Classes of the {occasion}:\n{table_of(results)}'
            f'All {len(results)} classes: {folder / "classes.csv"}, what each is taken for: '
            f'{folder / "confusion_matrix.png"}'
        )


def csv_of(results: list[ClassResult]) -> str:
    text = StringIO()
    rows = csv.writer(text, lineterminator='\n')
    rows.writerow(['label', 'class', 'images', 'correct', 'accuracy', 'confused_with', 'confused_images'])
    for r in results:
        accuracy = '' if r.accuracy is None else f'{r.accuracy:.2f}'
        row = r.label, r.name, r.images, r.correct, accuracy, r.confused_with, r.confused_images or ''
        rows.writerow(map(csv_cell, row))
    return text.getvalue()


def table_of(results: list[ClassResult]) -> str:
    """The worst first, those without images left out, cut to what a log bears."""
    tested = [r for r in results if r.images]
    ranked = sorted(tested, key=lambda r: (r.accuracy, -r.images))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('Class', overflow='fold', max_width=40)
    for column in ('Images', 'Accuracy'):
        table.add_column(column, justify='right')
    table.add_column('Most often taken for', overflow='fold', max_width=48)
    for r in ranked[:MOST_ROWS]:
        taken = f'{printable(r.confused_with)} ({r.confused_images})' if r.confused_images else ''
        # As Text, brackets in names are not taken for styles.
        table.add_row(Text(printable(r.name)), f'{r.images}', f'{r.accuracy:.1f} %', Text(taken))
    text = StringIO()
    Console(file=text, width=120).print(table)
    lines = text.getvalue()
    if len(ranked) > MOST_ROWS:
        lines += f'These are the {MOST_ROWS} worst of {len(ranked)} classes.\n'
    if len(tested) < len(results):
        lines += f'{len(results) - len(tested)} classes had no images here.\n'
    return lines
