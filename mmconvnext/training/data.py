"""Does the data of a run fit its model?"""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import IterableDataset

from ..config.inner_datasets import inner_settings
from ..config.libraries import LIBRARIES, class_count
from ..errors import UserError
from ..text import counted, listed
from .accumulation import accumulation_of
from .classes import SHARDS
from .datasets import build, check_images, naming, title

# Counting the labels of more samples than this takes longer than a wrong label would cost.
MAX_LABELS_CHECKED = 100_000
MAX_IMAGES_TRIED = 10  # until one passes the pipeline


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


def set_dataloader_defaults(cfg: Config) -> None:
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(field)
        if loader is not None:
            if cfg.get('default_scope') not in LIBRARIES:  # they pad images of several sizes themselves
                loader.setdefault('collate_fn', dict(type='default_collate'))
            if loader.dataset.type == SHARDS:
                # Shards have an order of their own; each iterator begins where the dataset is told to.
                loader.update(sampler=None, persistent_workers=False)
                training = field == 'train_dataloader'
                loader.dataset.update(batch_size=loader.batch_size, training=training)
                if training:
                    loader.dataset.multiple = accumulation_of(cfg)
            loader.setdefault('persistent_workers', bool(loader.get('num_workers')))
            loader.setdefault('pin_memory', torch.cuda.is_available())


def build_dataset(cfg: Config, field: str, model: nn.Module) -> BaseDataset:
    """The dataset of a dataloader, once its folder, classes and first image fit the model."""
    dataset, place = open_dataset(cfg, field, class_count(model))
    check_classes(dataset, model, place)
    check_first_image(dataset, model, place)
    return dataset


def open_dataset(cfg: Config, field: str, num_classes: int | None = None) -> tuple[BaseDataset, str]:
    """The dataset of a dataloader, which is not empty, and what messages call it."""
    settings = cfg[field].dataset
    place = title(settings, field)
    library = LIBRARIES.get(cfg.get('default_scope'))
    with naming(settings, field, **(dict(cure=library.data) if library else {})):
        dataset = build(settings, num_classes)
    if len(dataset) == 0:
        raise UserError(f'{place} is empty; it needs at least one image')
    return dataset, place


def check_classes(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Raise unless the labels of the dataset are outputs of the head."""
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
    """Send one image through the pipeline here, where its error is readable, not in a worker."""
    streamed = isinstance(dataset, IterableDataset)
    number = 0 if streamed else first_good(dataset)
    try:
        image = (dataset.first() if streamed else dataset[number])['inputs']
    except UserError:
        raise
    except Exception as error:  # transforms raise what they like, cv2 its own
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
    """Return the number of an early image that passes the pipeline, for single ones may be broken; else 0."""
    for number in range(min(len(dataset), MAX_IMAGES_TRIED)):
        try:
            if dataset[number] is not None:
                return number
        except Exception:  # told of the first one, if all are broken
            continue
    return 0


def check_evaluated_images(datasets: dict[str, BaseDataset]) -> None:
    """Look at every image for validation and test; training replaces broken ones."""
    for field, dataset in datasets.items():
        if field != 'train_dataloader':
            check_images(dataset, field)


def give_datasets(runner: Runner, datasets: dict[str, BaseDataset]) -> None:
    """Let a Runner use datasets that are open already.

    It gets functions: it copies the settings of a dataloader, and would copy the data with them.
    """
    for field, dataset in datasets.items():
        getattr(runner, f'_{field}')['dataset'] = dict(type=lambda dataset=dataset: dataset)
