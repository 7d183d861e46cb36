"""What tools/train.py does."""

import logging
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint

from ..errors import UserError
from .config import load_config
from .runner import build_runner
from .smoke import make_smoke_test


def train(
    config: str | Path,
    *,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    no_validate: bool = False,
    smoke: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> Runner:
    """Train a config.

    Args:
        config: path or name, see ``load_config``.
        work_dir: folder for checkpoints and logs; default ``work_dirs/NAME``, or
            ``work_dirs/smoke/NAME`` of a smoke test.
        resume: ``auto`` for the last checkpoint in ``work_dir``, or the path of one.
        amp: mixed precision.
        auto_scale_lr: scale the learning rate by effective over base batch size.
        no_validate: leave out validation.
        smoke: see ``make_smoke_test``.
        cfg_options: dotted key to value.
        launcher: ``none``, ``pytorch`` or ``slurm``.

    Raises:
        UserError: what was found, what was expected and what to do.
    """
    cfg = load_config(config, cfg_options)
    cfg.launcher = launcher
    default_dir = Path('work_dirs', 'smoke' if smoke else '', Path(config).stem)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(default_dir)
    if no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if amp:
        use_amp(cfg)
    if auto_scale_lr:
        enable_auto_scale_lr(cfg)
    choose_start(cfg, resume)
    if smoke:
        cfg = make_smoke_test(cfg)
    set_dataloader_defaults(cfg)

    runner = build_runner(cfg, ('train_dataloader', 'val_dataloader'))
    warn_of_batch_size(cfg, runner.world_size)
    runner.train()
    return runner


def choose_start(cfg: Config, resume: str | None) -> None:
    """Set ``load_from`` and ``resume``, and protect the checkpoints of an earlier run."""
    latest = find_latest_checkpoint(cfg.work_dir) if Path(cfg.work_dir, 'last_checkpoint').is_file() else None
    if resume == 'auto':
        if latest is None:
            raise UserError(
                f'--resume: {cfg.work_dir} holds no checkpoint to go on from; start without --resume, '
                'or name the folder of the earlier run with --work-dir'
            )
        cfg.load_from, cfg.resume = latest, True
    elif resume is not None:
        cfg.load_from, cfg.resume = resume, True
    elif latest is not None and not cfg.get('resume'):
        raise UserError(
            f'{cfg.work_dir} holds {Path(latest).name} of an earlier run, which this one would write over; '
            'go on with --resume, choose another folder with --work-dir, or delete this one'
        )


def set_dataloader_defaults(cfg: Config) -> None:
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(field)
        if loader is not None:
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('persistent_workers', loader.num_workers > 0)
            loader.setdefault('pin_memory', torch.cuda.is_available())


def use_amp(cfg: Config) -> None:
    if not torch.cuda.is_available():
        raise UserError('--amp needs a GPU for training, and torch sees none; train without it')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_auto_scale_lr(cfg: Config) -> None:
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(
            '--auto-scale-lr: the config does not say for which batch its learning rate is; '
            'add auto_scale_lr = dict(base_batch_size=...)'
        )
    # mmengine compares GPUs x batch with the base; accumulation makes each of them count as several.
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)
    cfg.auto_scale_lr.enable = True


def warn_of_batch_size(cfg: Config, world_size: int) -> None:
    """One line if the batch is not the recipe's and the learning rate is left as it is."""
    scaling = cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    accumulation = cfg.optim_wrapper.get('accumulative_counts', 1)
    effective = world_size * cfg.train_dataloader.batch_size * accumulation
    if base is None or scaling.get('enable') or effective == base:
        return
    lr = cfg.optim_wrapper.optimizer.lr
    print_log(
        f'The effective batch is {effective} ({world_size} x {cfg.train_dataloader.batch_size}'
        f'{f" x {accumulation} accumulated" if accumulation > 1 else ""}), the recipe was made for {base}. '
        f'Its learning rate {lr:g} scales to {lr * effective / base:g}: pass --auto-scale-lr, or '
        f'--cfg-options optim_wrapper.optimizer.lr={lr * effective / base:g}.',
        logger='current',
        level=logging.WARNING,
    )
