"""Build the datasets of a run, wrapped or not, once their annotations make sense."""

from functools import partial
from pathlib import Path

import mmengine.dataset
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset

from ..datasets.annotations import (
    check_json,
    is_local,
    is_openmmlab,
    load_by_name,
    load_lines,
    numbers_folders,
)
from .explaining import find


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
    if 'dataset' in settings:
        settings.dataset = with_checks(settings.dataset, num_classes)
    elif 'datasets' in settings:
        settings.datasets = [with_checks(each, num_classes) for each in settings.datasets]
    elif is_checkable(settings):
        kind = settings.type

        def build_this(**arguments):  # registries take functions, but no other callables
            return build_checked(dict(arguments, type=kind), num_classes)

        settings.type = build_this
    return settings


def is_checkable(settings: ConfigDict) -> bool:
    kind = find(DATASETS, settings.type)
    return isinstance(kind, type) and issubclass(kind, mmengine.dataset.BaseDataset)


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
