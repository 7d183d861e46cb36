"""Another folder for the data of a config."""

from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from .inner_datasets import inner_settings


def use_data_root(cfg: Config, data_root: str) -> None:
    """Set the folder of the training, validation and test data, and of the annotations to measure with.

    Raises:
        UserError: a dataset of the config takes no folder, or they have different ones.
    """
    datasets = [
        (field, dataset)
        for field in ('train_dataloader', 'val_dataloader', 'test_dataloader')
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
    for field in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(field) or []
        for metric in metrics if isinstance(metrics, list) else [metrics]:
            file = Path(metric.get('ann_file') or '')  # COCO's metrics read the annotations themselves
            if file.is_relative_to(former):
                metric.ann_file = str(Path(data_root, file.relative_to(former)))
