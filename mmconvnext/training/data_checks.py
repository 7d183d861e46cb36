"""Check that the data of a run fits its model."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from torch import nn
from torch.utils.data import IterableDataset

from ..checkpoints.downloading import cache_dir
from ..config.inner_datasets import inner_settings
from ..config.libraries import class_count
from ..datasets.broken import find_broken
from ..errors import UserError
from ..text import counted, listed, shortened
from .datasets import SHARDS, open_dataset, title

# Checking more labels than this takes longer than the failed run would.
MAX_LABELS_CHECKED = 100_000
MAX_IMAGES_TRIED = 10  # to find one that passes the pipeline
MAX_NAMED, MAX_LETTERS = 10, 200  # broken images in a message, characters of each


def check_data_roots(cfg: Config, loaders: tuple[str, ...]) -> None:
    for field in loaders:
        for settings in inner_settings(cfg[field].dataset) if cfg.get(field) else []:
            root = settings.get('data_root')
            if not root or settings.type == SHARDS or Path(root).expanduser().is_dir():
                continue
            raise UserError(
                f'{field}.dataset.data_root {root} is not a folder. Put the data or a link to it there, '
                f'or pass --data-root FOLDER; this one alone: --cfg-options {field}.dataset.data_root=FOLDER.'
            )


def build_dataset(cfg: Config, field: str, model: nn.Module) -> BaseDataset:
    """Return the dataset of a dataloader after checking its classes and its first image."""
    dataset, place = open_dataset(cfg, field, class_count(model)), title(cfg[field].dataset, field)
    check_classes(dataset, model, place)
    check_first_image(dataset, model, place)
    return dataset


def check_classes(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Raise UserError unless the head has an output for every label."""
    outputs = class_count(model)
    if outputs is None:
        return
    setting = 'pass --cfg-options model.head.num_classes={}'
    if not hasattr(model, 'head'):  # a detector has several
        setting = 'set num_classes of the heads to {}'
    classes = dataset.metainfo.get('classes')
    if classes and len(classes) != outputs:
        raise UserError(
            f'{place} has {counted(len(classes), "class")} ({listed([*map(str, classes)])}), '
            f'but the head has {counted(outputs, "output")}; '
            + (
                f'{setting.format(len(classes))} or correct the folder'
                if place.startswith('train')
                else 'it needs the classes of the training data, each with its folder'
            )
        )
    labelled = hasattr(dataset, 'get_gt_labels') and 0 < len(dataset) <= MAX_LABELS_CHECKED
    if not classes and labelled and 'gt_label' in dataset.get_data_info(0):
        largest = int(dataset.get_gt_labels().max())
        if largest >= outputs:
            raise UserError(
                f'{place} has a label {largest}, but the head has {outputs} outputs, for labels from 0 to '
                f'{outputs - 1}; pass --cfg-options model.head.num_classes={largest + 1} or correct them'
            )


def check_first_image(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Send one image through the pipeline, since errors in a worker are hard to read."""
    streamed = isinstance(dataset, IterableDataset)
    number = 0 if streamed else first_good(dataset)
    try:
        image = (dataset.first() if streamed else dataset[number])['inputs']
    except UserError:
        raise
    except Exception as error:  # transforms raise any type, OpenCV its own
        path = 'number 0' if streamed else dataset.get_data_info(0).get('img_path', 'number 0')
        raise UserError(f'{place}: image {path} does not pass the pipeline: {error}') from error
    needed = getattr(getattr(model, 'backbone', None), 'min_input_size', 0)
    if isinstance(image, torch.Tensor) and min(image.shape[-2:]) < needed:
        raise UserError(
            f'{place} gives images of {image.shape[-2]} x {image.shape[-1]} pixels, but the backbone '
            f'needs at least {needed} in both directions; resize them in the pipeline or lower '
            'model.backbone.stem_patch_size'
        )


def first_good(dataset: BaseDataset) -> int:
    """Return the index of an early image that passes the pipeline, or 0 if there is none."""
    for number in range(min(len(dataset), MAX_IMAGES_TRIED)):
        try:
            if dataset[number] is not None:
                return number
        except Exception:  # if all are broken, the error of the first one is reported
            continue
    return 0


def check_images(datasets: dict[str, BaseDataset]) -> None:
    """Check every validation and test image; training replaces broken ones.

    Raises:
        UserError: images that cannot be read.
    """
    for field, dataset in datasets.items():
        has_files = hasattr(dataset, 'get_data_info') and not isinstance(dataset, IterableDataset)
        if field == 'train_dataloader' or not has_files:
            continue
        broken = find_broken(dataset, cache_dir() / 'checked_images')
        if broken:
            named = [
                reason if path in reason else f'{path}: {reason}'
                for path, reason in list(broken.items())[:MAX_NAMED]
            ]
            more = f'\n  and {len(broken) - MAX_NAMED:,} more' if len(broken) > MAX_NAMED else ''
            raise UserError(
                f'{field}.dataset: {len(broken):,} of {len(dataset):,} images cannot be read; replace them '
                'or take them out:\n'
                + '\n'.join(f'  {shortened(line, MAX_LETTERS)}' for line in named)
                + more
            )
