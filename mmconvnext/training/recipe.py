"""Do batch and schedule of a run go with its recipe?"""

import logging

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..engine.summary import images_per_batch
from .accumulation import accumulation_of


def compare_lengths(cfg: Config) -> None:
    """Tell if the run is longer or shorter than the curve of its learning rate."""
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
            logger='current',
            level=logging.WARNING,
        )


def match_batch_size(cfg: Config, runner: Runner) -> None:
    """Scale the learning rate with accumulation too, or tell once that the batch is not the recipe's."""
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
            logger='current',
            level=logging.WARNING,
        )
    accumulation = accumulation_of(cfg)
    effective = runner.world_size * per_process * accumulation
    if scaling.get('enable'):
        # mmengine compares processes x configured batch with the base and leaves accumulation out.
        base *= configured / (per_process * accumulation)
        runner.auto_scale_lr = dict(scaling, base_batch_size=base)
    elif effective != base:
        lr = cfg.optim_wrapper.optimizer.lr
        print_log(
            f'The effective batch is {effective} ({runner.world_size} x {per_process}'
            f'{f" x {accumulation} accumulated" if accumulation > 1 else ""}), the recipe was made for '
            f'{base}. Pass --accumulate to make it that, or --auto-scale-lr to scale the learning rate from '
            f'{lr:g} to {lr * effective / base:g}.',
            logger='current',
            level=logging.WARNING,
        )


def check_first_epoch(cfg: Config, runner: Runner) -> None:
    """Tell if the warm-up, which starts at 0 as in the official recipes, is over an epoch without a step."""
    schedule = cfg.get('param_scheduler')
    warmup = schedule.get('warmup_epochs') if isinstance(schedule, dict) else None
    if warmup and len(runner.train_dataloader) <= accumulation_of(cfg):
        print_log(
            'An epoch is one step of the optimizer, and the warm-up starts at a learning rate of 0, so the '
            'first epoch trains nothing; choose a smaller batch, or pass --cfg-options '
            'param_scheduler.warmup_epochs=0',
            logger='current',
            level=logging.WARNING,
        )
