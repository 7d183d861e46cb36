"""Compare the batch size and schedule of a run with its recipe, and adjust them."""

import logging

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..engine.summary import images_per_batch
from ..errors import UserError


def accumulation_of(cfg: Config) -> int:
    """Return the number of batches accumulated per optimizer step."""
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
    cfg.auto_scale_lr.enable = False  # the config may enable it


def cure(base: int, processes: int, batch: int) -> str:
    """Suggest the nearest batch sizes that divide the recipe's, or a number of processes."""
    if base % processes:
        below = max(n for n in range(1, processes) if base % n == 0)
        return f'no batch size would do for {processes} processes; start {below}, for example'
    sizes = [n for n in range(1, base // processes + 1) if base // processes % n == 0]
    near = [*[n for n in sizes if n < batch][-1:], *[n for n in sizes if n > batch][:1]]
    return f'pass --cfg-options train_dataloader.batch_size={" or ".join(map(str, near))}'


def enable_auto_scale_lr(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr: the config does not say for which batch its learning rate is; '
            'add auto_scale_lr = dict(base_batch_size=...)'
        )
    cfg.auto_scale_lr.enable = True


def compare_lengths(cfg: Config) -> None:
    """Warn if the run is longer or shorter than its learning rate schedule."""
    curve = cfg.param_scheduler.get('epochs') if isinstance(cfg.get('param_scheduler'), dict) else None
    epochs = cfg.train_cfg.get('max_epochs')
    if None not in (curve, epochs) and curve != epochs:
        options = f'param_scheduler.epochs={epochs}'
        warmup = cfg.param_scheduler.get('warmup_epochs', 0)
        if warmup >= epochs:
            options += f' param_scheduler.warmup_epochs={warmup * epochs // curve}'
        print_log(
            f'The learning rate falls over {curve} epochs, and the run has {epochs}; '
            f'pass --cfg-options {options}, too.',
            'current',
            logging.WARNING,
        )


def match_batch_size(cfg: Config, runner: Runner) -> None:
    """Include accumulation in the scaled learning rate, or warn if the batch is not the recipe's."""
    scaling = cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    if base is None:
        return
    configured = cfg.train_dataloader.batch_size
    per_process = images_per_batch(runner.train_dataloader) or configured
    if per_process < configured:
        print_log(
            f'The batch size is {configured}, but there are no more than {per_process} training images for a '
            'batch, each of which is an epoch and one step.',
            'current',
            logging.WARNING,
        )
    accumulation = accumulation_of(cfg)
    effective = runner.world_size * per_process * accumulation
    if scaling.get('enable'):
        # mmengine scales by processes x configured batch size and ignores accumulation.
        base *= configured / (per_process * accumulation)
        runner.auto_scale_lr = dict(scaling, base_batch_size=base)
    elif effective != base:
        lr = cfg.optim_wrapper.optimizer.lr
        print_log(
            f'The effective batch is {effective} ({runner.world_size} x {per_process}'
            f'{f" x {accumulation} accumulated" if accumulation > 1 else ""}), the recipe was made for '
            f'{base}. Pass --accumulate to make it that, or --auto-scale-lr to scale the learning rate from '
            f'{lr:g} to {lr * effective / base:g}.',
            'current',
            logging.WARNING,
        )


def check_first_epoch(cfg: Config, runner: Runner) -> None:
    """Warn if the first epoch is a single step, which the warm-up takes with a learning rate of 0."""
    schedule = cfg.get('param_scheduler')
    warmup = schedule.get('warmup_epochs') if isinstance(schedule, dict) else None
    if warmup and len(runner.train_dataloader) <= accumulation_of(cfg):
        print_log(
            'An epoch is one step of the optimizer, and the warm-up starts at a learning rate of 0, so the '
            'first epoch trains nothing; choose a smaller batch, or pass --cfg-options '
            'param_scheduler.warmup_epochs=0',
            'current',
            logging.WARNING,
        )
