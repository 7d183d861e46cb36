"""Real images for comparisons and calibration."""

import copy
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import IterableDataset, Subset

from ..config.inner_datasets import inner_settings, pipeline_of
from ..config.libraries import class_count
from ..datasets.splits import find_layout
from ..datasets.walking import class_folders
from ..errors import UserError
from ..inference.inputs import TestPipeline, find_images
from ..text import counted, listed
from ..training.data_checks import build_dataset, check_data_roots
from ..training.explaining import naming_broken_images


@dataclass(frozen=True)
class Images:
    """Images after the test pipeline of a config, loaded on access.

    Attributes:
        samples: samples with ``inputs`` (3, H, W), and ``data_samples`` with ``gt_label`` if ``labelled``.
        labelled: whether the classes of the images are known.
    """

    samples: Sequence[dict]
    labelled: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def spread(self, most: int) -> 'Images':
        """Return at most the given number of images, evenly spaced."""
        if len(self) <= most:
            return self
        chosen = np.linspace(0, len(self) - 1, most).round().astype(int).tolist()
        return Images(Subset(self.samples, chosen), self.labelled)

    def halves(self) -> tuple['Images', 'Images']:
        """Return every second image, and the others; a single image is in both halves."""
        if len(self) < 2:
            return self, self
        parts = (Subset(self.samples, range(i, len(self), 2)) for i in (0, 1))
        return tuple(Images(part, self.labelled) for part in parts)

    def batch(self, start: int, stop: int) -> tuple[Tensor, list[int] | None]:
        """Return pixels (N, 3, H, W), and labels if there are any.

        Raises:
            UserError: an image is broken, or the images have several sizes.
        """
        with naming_broken_images():
            chosen = [self.samples[i] for i in range(start, min(stop, len(self)))]
        pixels = [sample['inputs'] for sample in chosen]
        if len({image.shape for image in pixels}) > 1:
            raise UserError(
                'the test pipeline of the config leaves images in different sizes, which do not fit into one '
                'batch; let it end with a crop'
            )
        labels = [int(sample['data_samples'].gt_label) for sample in chosen] if self.labelled else None
        return torch.stack(pixels), labels


class Pictures(Sequence):
    """Images without labels after the test pipeline of a config.

    Args:
        cfg: config of the model.
        files: paths of the images; None: three photographs from libraries, with the number of channels of the
            network.
    """

    def __init__(self, cfg: Config, files: Sequence[str] | None = None):
        self.pipeline = TestPipeline(cfg)
        self.files = carried_photographs() if files is None else files
        channels = self.pipeline.channels
        if files is None and self.pipeline.reader.channels == 'unchanged' and channels not in (None, 3):
            photographs = [np.asarray(Image.open(file)) for file in self.files]
            self.files = [photograph[..., np.arange(channels) % 3] for photograph in photographs]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> dict:
        file = self.files[number]
        try:
            return self.pipeline.prepare(file)[0]
        except UserError as error:
            raise UserError(f'{file} cannot be read: {error}') from error


def real_images(model: nn.Module, folder: str | Path | None) -> tuple[Images, Images]:
    """Return images for calibration and others for the check, or the same if there are only three.

    Args:
        model: model of ``get_model``.
        folder: folder of images, with labels unless ``why_unlabelled``. None: the data of the model's config
            if it exists and fits the model, else three photographs from libraries. A warning says why
            existing data is not used.
    """
    cfg = model._config
    pipeline = pipeline_of(cfg.test_dataloader.dataset)
    if folder is not None:
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise UserError(f'--images {folder} is not a folder; name one with images')
        if why_unlabelled(model, folder):
            return Images(Pictures(cfg, [given.path for given in find_images(folder)])).halves()
        settings = dict(type='mmconvnext.ImageFolder', data_root=str(folder), pipeline=pipeline)
        settings['classes'] = model._dataset_meta.get('classes')
        return tuple(build(model, dict(settings, split=split)) for split in ('train', 'test'))
    photographs = Images(Pictures(cfg))
    try:
        check_data_roots(cfg, ('test_dataloader',))
    except UserError:  # the data of a recipe is not here, which is usual
        return photographs, photographs
    try:
        checking = build(model, cfg.test_dataloader.dataset)
    except UserError as error:
        warnings.warn(f'{error}. Three photographs take the place of the data', stacklevel=2)
        return photographs, photographs
    try:
        training = copy.deepcopy(cfg.train_dataloader.dataset)
        for settings in inner_settings(training):
            settings.pipeline = pipeline
        return build(model, training), checking
    except (AttributeError, UserError):
        return checking.halves()


def why_unlabelled(model: nn.Module, folder: Path) -> str | None:
    """Return why the folders do not give the classes of the model, or None if they do.

    In the layout of ``ImageFolder``, they do if all their names are classes of the model; or, for a model
    without class names, if there are as many folders as outputs.
    """
    place = find_layout(folder).classes or folder
    folders = list(class_folders(place))
    if not folders:
        return f'{place} has no folders of classes'
    known = model._dataset_meta.get('classes')
    if known:
        known = {unicodedata.normalize('NFC', str(name)) for name in known}
        unknown = [name for name in folders if name not in known]
        return f'{listed(unknown)} in {place}: no class of the model' if unknown else None
    count = class_count(model)
    if len(folders) == count:
        return None
    return f'{place} has {counted(len(folders), "folder")} for {counted(count, "class")}'


def build(model: nn.Module, settings: dict) -> Images:
    cfg = Config(dict(model._config, test_dataloader=dict(dataset=settings)))
    dataset = build_dataset(cfg, 'test_dataloader', model)
    if isinstance(dataset, IterableDataset):
        raise UserError('the data of the config lies in shards; name a folder of images with --images')
    return Images(dataset, labelled=True)


def carried_photographs() -> list[str]:
    """Return the photographs of scikit-learn and matplotlib."""
    import matplotlib
    import sklearn.datasets

    images = Path(sklearn.datasets.__file__).parent / 'images'
    hopper = Path(matplotlib.get_data_path(), 'sample_data/grace_hopper.jpg')
    return [str(file) for file in (images / 'china.jpg', images / 'flower.jpg', hopper)]
