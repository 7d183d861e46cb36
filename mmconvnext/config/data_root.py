"""Set the folder of the data in a config."""

import copy
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from .inner_datasets import inner_settings

DATALOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'


def use_data_root(cfg: Config, data_root: str) -> None:
    """Set the folder of the training, validation and test data, and of the metrics' annotations.

    Raises:
        UserError: a dataset has no folder, or the datasets have different ones.
    """
    datasets = [
        (field, dataset)
        for field in DATALOADERS
        if cfg.get(field)
        for dataset in inner_settings(cfg[field].dataset)
    ]
    for field, dataset in datasets:
        if 'data_root' not in dataset:
            raise UserError(
                f'--data-root: {field}.dataset ({dataset.type}) has no data_root in the config; leave '
                '--data-root out, or give it one there'
            )
    if len({str(dataset.data_root) for _, dataset in datasets}) > 1:
        each = ', '.join(f'{field}.dataset.data_root={d.data_root}' for field, d in datasets)
        raise UserError(
            f'--data-root sets one folder for all data, but the config has different ones ({each}); '
            'set each of them with --cfg-options'
        )
    former = Path(datasets[0][1].data_root)
    for _, dataset in datasets:
        dataset.data_root = data_root
    for metric in metrics_of(cfg):
        file = Path(metric.get('ann_file') or '')  # metrics of COCO read the annotations themselves
        if file.is_relative_to(former):
            metric.ann_file = str(Path(data_root, file.relative_to(former)))


def with_absolute_paths(cfg: Config) -> Config:
    """Return a copy of a config with absolute paths for existing data."""
    cfg = copy.deepcopy(cfg)
    for field in DATALOADERS:
        for dataset in inner_settings(cfg[field].dataset) if cfg.get(field) else []:
            if dataset.get('data_root'):
                make_absolute(dataset, 'data_root')  # the other paths are relative to it
                continue
            make_absolute(dataset, 'ann_file')
            prefix = dataset.get('data_prefix')
            if isinstance(prefix, Mapping):
                for name in prefix:
                    make_absolute(prefix, name)
            else:
                make_absolute(dataset, 'data_prefix')
    for metric in metrics_of(cfg):
        make_absolute(metric, 'ann_file')
    return cfg


def make_absolute(settings: MutableMapping, name: str) -> None:
    path = settings.get(name)
    if isinstance(path, str) and path and Path(path).exists():
        settings[name] = str(Path(path).absolute())


def metrics_of(cfg: Config) -> list[dict]:
    """Return the settings of the metrics for validation and test."""
    evaluators = [cfg.get(field) or [] for field in ('val_evaluator', 'test_evaluator')]
    return [metric for each in evaluators for metric in (each if isinstance(each, list) else [each])]
