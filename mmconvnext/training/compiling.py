"""Compile the network that trains."""

import torch
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..errors import UserError


def check_compiler(distributed: str | None) -> None:
    """Raise UserError unless torch's compiler works here, which takes a compiler of the system's."""
    if distributed not in (None, 'ddp'):
        raise UserError(f'--compile does not go together with --distributed {distributed}; leave one out')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.compile(torch.relu)(torch.zeros(8, device=device))
    except Exception as error:  # dynamo, inductor, triton and what they start have errors of their own
        reason = str(error).strip().partition('\n')[0] or type(error).__name__
        raise UserError(
            f"--compile: torch's compiler does not work here: {reason}; install a C++ compiler as g++, or "
            'train without --compile'
        ) from error


def compile_backbone(runner: Runner) -> None:
    """Compile in place."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model.backbone.compile()
    print_log('The backbone is compiled: the first iterations take minutes.', 'current')
