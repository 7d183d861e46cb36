"""Save test images with their predictions."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from ..reports.annotated import PictureFolder, annotate_sample, save_picture
from ..reports.pictures import inputs_of


class PicturesHook(Hook):
    """Save every test image with its top classes below.

    It is not registered: a config must not name files to write.

    Args:
        folder: new or empty folder. Pictures are named after the images and their parent folders.
    """

    def __init__(self, folder: str | Path):
        self.pictures, self.drawn = PictureFolder(folder), 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        classes = runner.test_dataloader.dataset.metainfo.get('classes')
        model = runner.model
        while hasattr(model, 'module'):  # of distributed and of test-time augmentation wrappers
            model = model.module
        percent = not getattr(getattr(model, 'head', None), 'regression', False)
        for inputs, sample in zip(inputs_of(data_batch), outputs, strict=True):
            path = sample.get('img_path')
            number = self.drawn * runner.world_size + runner.rank
            name = '/'.join(Path(path).parts[-2:]) if path else f'image-{number}'
            save_picture(annotate_sample(inputs, sample, classes, percent=percent), self.pictures.place(name))
            self.drawn += 1
