"""Accumulate gradients until the batch is the one that the recipe was made for."""

from mmengine.config import Config
from mmengine.dist import get_world_size

from ..errors import UserError


def accumulation_of(cfg: Config) -> int:
    """Batches whose gradients make a step."""
    return cfg.optim_wrapper.get('accumulative_counts', 1)


def accumulate_to_recipe(cfg: Config) -> None:
    """Set ``accumulative_counts`` so that processes x batch x accumulation is the base batch size.

    Raises:
        UserError: the config names no base, or processes x batch does not divide it.
    """
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if base is None:
        raise UserError(
            '--accumulate: the config does not say for which batch it is made; '
            'add auto_scale_lr = dict(base_batch_size=...)'
        )
    if 'accumulative_counts' in cfg.optim_wrapper:
        raise UserError(
            f'--accumulate finds out accumulative_counts, but optim_wrapper already says '
            f'{cfg.optim_wrapper.accumulative_counts}; leave out one of the two'
        )
    processes, batch = get_world_size(), cfg.train_dataloader.batch_size
    if base % (processes * batch):
        raise UserError(
            f'--accumulate: {processes} x {batch} images ({"process" if processes == 1 else "processes"} x '
            f'batch) do not divide the batch of the recipe, {base}; {cure(base, processes, batch)}'
        )
    cfg.optim_wrapper.accumulative_counts = base // (processes * batch)
    cfg.auto_scale_lr.enable = False  # of a config that scales by itself


def cure(base: int, processes: int, batch: int) -> str:
    """Batch sizes a process that would do, the nearest below and above, or numbers of processes."""
    if base % processes:
        below = max(n for n in range(1, processes) if base % n == 0)
        return f'no batch size would do for {processes} processes; start {below}, for example'
    sizes = [n for n in range(1, base // processes + 1) if base // processes % n == 0]
    near = [*[n for n in sizes if n < batch][-1:], *[n for n in sizes if n > batch][:1]]
    return f'pass --cfg-options train_dataloader.batch_size={" or ".join(map(str, near))}'
