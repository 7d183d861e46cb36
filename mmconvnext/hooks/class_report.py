"""Report the accuracy of every class, and what it is confused with."""

from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models.heads import MultiLabelClsHead
from torch import Tensor
from torch.utils.data import DataLoader

from ..files import written_whole
from ..models.network import unwrapped
from ..registry import HOOKS
from ..reports.class_results import class_results, csv_of, distinct_names, table_of
from ..reports.confusion import save_confusion
from ..reports.predictions import Predictions, confusion_matrix
from ..reports.report import save_report
from .best import best_checkpoint, checkpoint_name

KEPT = 'confusions'  # keys in the message hub: matrices of the best checkpoint and of the last validation


class Page(NamedTuple):
    """The HTML report of a test, see ``save_report``."""

    file: Path
    title: str
    checkpoint: str


@HOOKS.register_module()
class ClassReportHook(Hook):
    """Report the accuracy of every class at the end of a training (of its best checkpoint) and of a test.

    The log gets a table with the worst classes first. ``classes.csv`` with all classes and
    ``confusion_matrix.png`` are written to the work dir after a training, and to the folder of the test's log
    after a test, so that those of the training stay; both contain the name of the checkpoint. Without
    ``save_best``, the report is on the last validation. Classifiers with several labels per image get no
    report.
    """

    # Before the checkpoint hook, because checkpoints contain the matrix for resuming.
    priority = 'LOW'

    page: Page | None = None  # of a test; not an argument, because configs must not name files to write
    has_table = True  # False if the hook was added for the page only

    def before_run(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        several = isinstance(getattr(model, 'head', None), MultiLabelClsHead) and self.page is None
        self.seen = None if several else Predictions(page=self.page is not None)
        if several:
            runner.logger.info('No report on classes: it needs a network that gives each image one label.')

    def before_val(self, runner: Runner) -> None:
        self.listen(runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        self.listen(runner.test_evaluator)

    def listen(self, evaluator: Evaluator) -> None:
        if self.seen is not None and self.seen not in evaluator.metrics:
            self.seen.dataset_meta = evaluator.dataset_meta
            evaluator.metrics.append(self.seen)

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self.seen is not None:
            matrix = confusion_matrix(self.seen.predictions, self.seen.num_classes)
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
        matrix = dense(entry)
        report(runner, matrix, names_of(runner.val_dataloader, len(matrix)), source, Path(runner.work_dir))

    @master_only
    def after_test(self, runner: Runner) -> None:
        if self.seen is None:
            return
        predictions, num_classes = self.seen.predictions, self.seen.num_classes
        names = names_of(runner.test_dataloader, num_classes)
        if self.has_table:
            source = Path(runner.cfg.get('load_from') or 'the test').name
            report(runner, confusion_matrix(predictions, num_classes), names, source, Path(runner.log_dir))
        if self.page is not None:
            file, title, checkpoint = self.page
            save_report(predictions, names, file, title=title, detail=checkpoint)
            runner.logger.info(f'Report: {file}')


def names_of(loader: DataLoader, num_classes: int) -> tuple[str, ...]:
    return distinct_names(loader.dataset.metainfo.get('classes'), num_classes)


def report(runner: Runner, matrix: Tensor, names: tuple[str, ...], source: str, folder: Path) -> None:
    """Log the table and write the files.

    Args:
        runner: runner whose log gets the table.
        matrix: (classes, classes), images by true and predicted class.
        names: names of the classes.
        source: checkpoint that was tested.
        folder: folder for the files.
    """
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
    """Return the non-zero entries of a matrix for a checkpoint: at most one per image."""
    places = matrix.nonzero()
    return dict(places=places, counts=matrix[tuple(places.T)])


def dense(entry: dict) -> Tensor:
    matrix = torch.zeros(entry['size'], entry['size'], dtype=entry['counts'].dtype)
    matrix[tuple(entry['places'].T)] = entry['counts']
    return matrix


def add_page(runner: Runner, page: Page) -> None:
    """Make the test of a Runner write its page, whether or not its config has a ``ClassReportHook``."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, ClassReportHook)), None)
    if hook is None:
        hook = ClassReportHook()
        hook.has_table = False
        runner.register_hook(hook)
    hook.page = page
