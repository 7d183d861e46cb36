"""Precision, fused optimizer steps and compilation of a training."""

import logging

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..errors import UserError
from ..models.network import unwrapped


def use_amp(cfg: Config) -> None:
    if not torch.cuda.is_available():
        raise UserError('--amp needs a GPU for training, and torch sees none; train without it')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def leave_out_amp_without_gpu(cfg: Config) -> None:
    """Train in fp32 without a GPU: mmengine has no mixed precision on CPUs."""
    settings = cfg.optim_wrapper
    if str(settings.get('type')).endswith('AmpOptimWrapper') and not torch.cuda.is_available():
        settings.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            settings.pop(key, None)
        print_log('Training in fp32: there is no GPU for mixed precision.', 'current', logging.WARNING)


def use_fused_adamw(cfg: Config) -> None:
    """Use fused AdamW unless the config selects another implementation.

    On a CPU, the default implementation makes ten passes over the parameters, fused AdamW one.
    """
    optimizer = cfg.optim_wrapper.optimizer
    if optimizer.type == 'AdamW' and not any(key in optimizer for key in ('foreach', 'capturable')):
        optimizer.setdefault('fused', True)


def check_compiler(distributed: str | None) -> None:
    """Raise UserError unless torch.compile works here; it needs a C++ compiler."""
    if distributed not in (None, 'ddp'):
        raise UserError(f'--compile does not go together with --distributed {distributed}; leave one out')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.compile(torch.relu)(torch.zeros(8, device=device))
    except Exception as error:  # dynamo, inductor and triton raise their own types
        reason = str(error).strip().partition('\n')[0] or type(error).__name__
        raise UserError(
            f"--compile: torch's compiler does not work here: {reason}; install a C++ compiler as g++, or "
            'train without --compile'
        ) from error


def compile_backbone(runner: Runner) -> None:
    """Compile the backbone in place."""
    model = unwrapped(runner.model)
    model.backbone.compile()
    runner.logger.info('The backbone is compiled: the first iterations take minutes.')
