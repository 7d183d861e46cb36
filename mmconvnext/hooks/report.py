"""A test as a page of HTML."""

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..reports.class_results import distinct_names
from ..reports.predictions import Predictions
from ..reports.report import save_report


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes accuracy, confusions, classes and the most confident mistakes of a test into one file.

    Args:
        file: .html.
        title: what was tested.
        checkpoint: with which weights.
    """

    priority = 'VERY_LOW'

    def __init__(self, file: str, title: str, checkpoint: str):
        self.file, self.title, self.checkpoint = Path(file), title, checkpoint
        self.kept = Predictions()

    def before_test(self, runner: Runner) -> None:
        runner.test_evaluator.metrics.append(self.kept)

    @master_only
    def after_test(self, runner: Runner) -> None:
        classes = runner.test_dataloader.dataset.metainfo.get('classes')
        names = distinct_names(classes, self.kept.num_classes)
        save_report(self.kept.predictions, names, self.file, title=self.title, detail=self.checkpoint)
        runner.logger.info(f'Report: {self.file}')
