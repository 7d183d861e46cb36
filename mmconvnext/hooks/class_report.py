"""How well is each class told, and what is it taken for?"""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.evaluation import ConfusionMatrix
from mmpretrain.models.heads import MultiLabelClsHead
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ..errors import UserError
from ..files import written_whole
from ..registry import HOOKS
from ..reports.class_results import ClassResult, class_results, distinct_names
from ..reports.confusion import save_confusion
from ..text import csv_cell, printable
from .best import best_checkpoint, checkpoint_name

KEPT = 'confusions'  # matrices in the message hub: of the best checkpoint and of the last validation
MOST_ROWS = 20  # of the table in the log; the file has all


class Confusions(ConfusionMatrix):
    """mmpretrain's matrix, kept here: as a value to log, it would fill every line."""

    matrix: Tensor | None = None  # in the first process

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            label = sample.get('gt_label')
            if label is None or label.numel() != 1 or not {'pred_score', 'pred_label'} & sample.keys():
                raise UserError(
                    'ClassReportHook reports on classifiers with one label an image, and this network or '
                    'its data is of another kind; take the hook out of custom_hooks'
                )
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list) -> dict:
        self.matrix = super().compute_metrics(results)['result']
        return {}


@HOOKS.register_module()
class ClassReportHook(Hook):
    """Report every class of the best checkpoint at the end of a training, and of a test.

    A table, worst classes first, goes into the log. ``classes.csv`` with all classes and
    ``confusion_matrix.png`` go into the work dir after a training, and into the folder of the test's log
    after a test, which leaves those of the training alone; both name the checkpoint. Without ``save_best``
    they are of the last validation. For classifiers with one label an image; a head for several leaves the
    report out.
    """

    # Before the hook that saves checkpoints: they hold the matrix, for a run that is resumed.
    priority = 'LOW'

    def __init__(self):
        self.confusions = Confusions()

    def before_run(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.applies = not isinstance(getattr(model, 'head', None), MultiLabelClsHead)
        if not self.applies:
            runner.logger.info('No report on classes: it is for networks that give an image one label.')

    def before_val(self, runner: Runner) -> None:
        self.listen(runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        self.listen(runner.test_evaluator)

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        matrix, self.confusions.matrix = self.confusions.matrix, None
        if matrix is not None:
            kept = [entry for entry in kept_matrices(runner) if is_best(runner, entry['checkpoint'])]
            last = dict(checkpoint=checkpoint_name(runner), size=len(matrix), **nonzero(matrix))
            runner.message_hub.update_info(KEPT, [*kept, last])

    @master_only
    def after_train(self, runner: Runner) -> None:
        entries = kept_matrices(runner)
        if not entries:  # training ended before the first validation
            return
        entry = next((entry for entry in entries if is_best(runner, entry['checkpoint'])), entries[-1])
        best = is_best(runner, entry['checkpoint'])
        source = best_checkpoint(runner).path.name if best else 'the last validation'
        dataset = runner.val_dataloader.dataset
        self.report(runner, dense(entry), dataset, source, Path(runner.work_dir))

    @master_only
    def after_test(self, runner: Runner) -> None:
        if self.confusions.matrix is not None:
            source = Path(runner.cfg.get('load_from') or 'the test').name
            dataset = runner.test_dataloader.dataset
            self.report(runner, self.confusions.matrix, dataset, source, Path(runner.log_dir))

    def listen(self, evaluator: Evaluator) -> None:
        if self.applies and self.confusions not in evaluator.metrics:
            evaluator.metrics.append(self.confusions)

    def report(self, runner: Runner, matrix: Tensor, dataset: BaseDataset, source: str, folder: Path) -> None:
        names = distinct_names(dataset.metainfo.get('classes'), len(matrix))
        results = class_results(matrix, names)
        with written_whole(folder / 'classes.csv') as part:
            part.write_text(csv_of(results, source), encoding='utf-8')
        save_confusion(matrix.numpy(), names, folder / 'confusion_matrix.png', title=source)
        runner.logger.info(
            f'Classes of {source}:\n{table_of(results)}'
            f'All {len(results)} classes: {folder / "classes.csv"}, what each is taken for: '
            f'{folder / "confusion_matrix.png"}'
        )


def kept_matrices(runner: Runner) -> list[dict]:
    return runner.message_hub.get_info(KEPT, [])


def is_best(runner: Runner, checkpoint: str) -> bool:
    best = best_checkpoint(runner)
    return best is not None and best.path.name.endswith(f'_{checkpoint}')


def nonzero(matrix: Tensor) -> dict[str, Tensor]:
    """What a checkpoint holds of a matrix: a few numbers an image, however many classes there are."""
    places = matrix.nonzero()
    return dict(places=places, counts=matrix[tuple(places.T)])


def dense(entry: dict) -> Tensor:
    matrix = torch.zeros(entry['size'], entry['size'], dtype=entry['counts'].dtype)
    matrix[tuple(entry['places'].T)] = entry['counts']
    return matrix


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
        missing = len(results) - len(tested)
        lines += f'{missing} class{"es" * (missing > 1)} had no images here.\n'
    return lines
