"""How does the optimizer take its step here?"""

import logging

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import UserError


def use_amp(cfg: Config) -> None:
    if not torch.cuda.is_available():
        raise UserError('--amp needs a GPU for training, and torch sees none; train without it')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def leave_out_amp_without_gpu(cfg: Config) -> None:
    """Train a config of mixed precision in fp32 where mmengine has no other."""
    settings = cfg.optim_wrapper
    if str(settings.get('type')).endswith('AmpOptimWrapper') and not torch.cuda.is_available():
        settings.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            settings.pop(key, None)
        print_log('Training in fp32: there is no GPU for mixed precision.', 'current', logging.WARNING)


def use_fused_adamw(cfg: Config) -> None:
    """Let AdamW take its step in one pass over the parameters, unless the config chooses otherwise.

    On a CPU torch's default makes ten passes, parameter by parameter.
    """
    optimizer = cfg.optim_wrapper.optimizer
    if optimizer.type == 'AdamW' and not any(key in optimizer for key in ('foreach', 'capturable')):
        optimizer.setdefault('fused', True)


def enable_auto_scale_lr(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr: the config does not say for which batch its learning rate is; '
            'add auto_scale_lr = dict(base_batch_size=...)'
        )
    cfg.auto_scale_lr.enable = True
