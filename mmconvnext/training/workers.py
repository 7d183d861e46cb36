"""How many processes load data?"""

import os

from mmengine.config import Config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def fit_workers(cfg: Config, chosen: dict | None) -> None:
    """Start no more loader processes than there are cores for this training process.

    A core counts if affinity and the limits of a container let this process use it; processes of one machine
    share them.

    Args:
        cfg: with the numbers of workers of its recipe.
        chosen: options of the command line, whose numbers are kept.
    """
    from joblib import cpu_count  # predictions, which import this package too, do without it

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
