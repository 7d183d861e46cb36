"""Build the datasets of a run from checked annotations and pass them to its Runner."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mmengine.dataset
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset, KFoldDataset

from ..config.libraries import LIBRARIES
from ..datasets.annotations import (
    check_json,
    is_local,
    is_openmmlab,
    load_by_name,
    load_lines,
    numbers_folders,
)
from ..errors import UserError
from ..registry import default_scope
from ..text import listed
from .explaining import BUILD_ERRORS, registered
from .recipe import accumulation_of

SHARDS = 'mmconvnext.Shards'


def open_dataset(cfg: Config, field: str, num_classes: int | None = None) -> mmengine.dataset.BaseDataset:
    """Build the dataset of a dataloader.

    Raises:
        UserError: it cannot be read or is empty.
    """
    settings, scope = cfg[field].dataset, cfg.get('default_scope', 'mmengine')
    with naming(settings, field, scope), default_scope(scope):
        dataset = build(settings, num_classes)
    if len(dataset) == 0:
        raise UserError(f'{title(settings, field)} is empty; it needs at least one image')
    return dataset


@contextmanager
def naming(settings: ConfigDict, field: str, scope: str | None = None) -> Iterator[None]:
    """Raise UserError with the dataloader and folder if building a dataset fails."""
    try:
        yield
    except UserError:
        raise
    except BUILD_ERRORS as error:
        library = LIBRARIES.get(scope)
        cure = library.data if library else 'Put one folder per class with images there'
        raise UserError(f'{title(settings, field)} cannot be read: {error}. {cure}') from error


def title(settings: ConfigDict, field: str) -> str:
    """Return the name of a dataset in messages."""
    root = f', data_root {settings.data_root}' if settings.get('data_root') else ''
    return f'{field}.dataset ({settings.type}{root})'


def build(settings: ConfigDict, num_classes: int | None):
    """Build a dataset from its settings; those inside are checked and labelled by name.

    Args:
        settings: of any dataset or wrapper, left as they are.
        num_classes: the number of labels that annotations may have; None: unknown.
    """
    return DATASETS.build(with_checks(settings, num_classes))


def with_checks(settings: ConfigDict, num_classes: int | None) -> ConfigDict:
    """Return a copy in which every dataset that reads is built by ``build_checked``."""
    settings = ConfigDict(settings)
    kind = registered(DATASETS, settings.type)
    if 'dataset' in settings:
        settings.dataset = with_checks(settings.dataset, num_classes)
        if kind is KFoldDataset and settings.get('seed') is None:
            settings.type = unshuffled_folds
    elif 'datasets' in settings:
        settings.datasets = [with_checks(each, num_classes) for each in settings.datasets]
        if kind is mmengine.dataset.ConcatDataset:
            settings.type = ConcatDataset
    elif isinstance(kind, type) and issubclass(kind, mmengine.dataset.BaseDataset):

        def build_this(**arguments):  # registries take functions, but no other callables
            return build_checked(dict(arguments, type=kind), num_classes)

        settings.type = build_this
    return settings


class ConcatDataset(mmengine.dataset.ConcatDataset):
    """A ``ConcatDataset`` that ``ClassBalancedDataset`` can wrap."""

    def get_cat_ids(self, idx: int) -> list[int]:
        dataset, sample = self._get_ori_dataset_idx(idx)
        return self.datasets[dataset].get_cat_ids(sample)


def unshuffled_folds(**arguments) -> KFoldDataset:
    """Build folds of images in their order, which is often that of the classes.

    Raises:
        UserError: classes are missing in training. In validation, they are named in a warning.
    """
    folds = KFoldDataset(**arguments)
    missing = labels_of(KFoldDataset(**{**arguments, 'num_splits': 1, 'fold': 0, 'test_mode': True}))
    missing -= labels_of(folds)
    if missing:
        names = folds.metainfo.get('classes', ())
        missing = [names[label] if label < len(names) else str(label) for label in sorted(missing)]
        part = 'validation' if folds.test_mode else 'training'
        message = (
            f'KFoldDataset without a seed cuts the images in their order, so that {part} has no image of '
            f'{listed(missing)}; give it the same seed in every dataloader, as seed=0'
        )
        if not folds.test_mode:
            raise UserError(message)
        warnings.warn(message, stacklevel=2)
    return folds


def labels_of(dataset: KFoldDataset) -> set[int]:
    labels = (dataset.get_data_info(i).get('gt_label') for i in range(len(dataset)))
    return {label for label in labels if isinstance(label, int)}


def build_checked(settings: dict, num_classes: int | None) -> mmengine.dataset.BaseDataset:
    dataset = DATASETS.build({**settings, 'lazy_init': True})
    file = dataset.ann_file
    if numbers_folders(dataset):
        dataset.load_data_list = partial(load_by_name, dataset)
    elif isinstance(dataset, CustomDataset) and file and dataset.with_label and is_local(file):
        if type(dataset).load_data_list is CustomDataset.load_data_list:
            dataset.load_data_list = partial(load_lines, dataset, num_classes)
    elif file and is_openmmlab(dataset) and is_local(file) and Path(file).suffix == '.json':
        check_json(Path(file), num_classes)
    if not settings.get('lazy_init'):
        dataset.full_init()
        vars(dataset).pop('load_data_list', None)
    return dataset


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


def give_datasets(runner: Runner, datasets: dict[str, mmengine.dataset.BaseDataset]) -> None:
    """Let a Runner use datasets that are already built.

    They are passed as functions because the Runner copies the settings of a dataloader.
    """
    for field, dataset in datasets.items():
        getattr(runner, f'_{field}')['dataset'] = dict(type=lambda dataset=dataset: dataset)
