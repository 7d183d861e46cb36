"""Choose the number of processes that load data."""

import os

from mmengine.config import Config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def fit_workers(cfg: Config, chosen: dict | None) -> None:
    """Limit the number of loader processes to the cores for this training process.

    Cores are counted with CPU affinity and container limits, and shared by the processes of a machine.

    Args:
        cfg: config with the numbers of workers of its recipe.
        chosen: options from the command line, whose numbers are kept.
    """
    from joblib import cpu_count  # not needed for predictions, which also import this package

    most = max(cpu_count() // int(os.environ.get('LOCAL_WORLD_SIZE', 1)), 1)
    for field in LOADERS:
        if cfg.get(field) is None or is_chosen(field, chosen or {}):
            continue
        workers = cfg[field].get('num_workers')
        if isinstance(workers, int) and workers > most:
            cfg[field].num_workers = most


def is_chosen(field: str, options: dict) -> bool:
    whole = options.get(field)
    return f'{field}.num_workers' in options or (isinstance(whole, dict) and 'num_workers' in whole)
