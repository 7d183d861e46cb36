"""Choice of an operator's implementation: our own code, a Triton kernel, or plain PyTorch."""

import os
import warnings
from importlib.util import find_spec

import torch
from torch import Tensor

HAS_TRITON = find_spec('triton') is not None
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Obstacles that have been reported, so that each is reported once.
REPORTED = set()


def use_triton(x: Tensor) -> bool:
    """Return whether to run the kernels of ``ops/triton`` on x; they are enabled by ``MMCONVNEXT_TRITON=1``.

    The kernels run on CUDA, and on a CPU in Triton's interpreter if ``TRITON_INTERPRET=1`` was set before
    triton was imported.
    """
    # Opt-in, because these kernels have not been timed on a GPU yet. Enable each one by default on CUDA as
    # soon as results of tools/benchmarks/kernels.py show that it beats plain and compiled PyTorch.
    if os.environ.get('MMCONVNEXT_TRITON') != '1' or torch.jit.is_tracing() or transforms():
        return False
    device = x.device.type
    if device != 'cuda' and not (device == 'cpu' and os.environ.get('TRITON_INTERPRET') == '1'):
        obstacle = f'do not run on {device}, only on CUDA'
    elif x.dtype not in DTYPES:
        obstacle = f'do not support {x.dtype}, only {", ".join(map(str, DTYPES))}'
    elif not HAS_TRITON:
        obstacle = 'need triton, which is not installed'
    else:
        return True
    if obstacle not in REPORTED:
        REPORTED.add(obstacle)
        warnings.warn(
            f'MMCONVNEXT_TRITON=1 is set, but the kernels {obstacle}. Plain PyTorch is used instead.',
            stacklevel=3,
        )
    return False


def plain_torch(x: Tensor) -> bool:
    """Return whether PyTorch's compiler, a tracer, a function transform or a tensor subclass handles x.

    These fuse plain operations better themselves, or support plain operations only.
    """
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or transforms()
        or torch.autograd.forward_ad._current_level >= 0
        or type(x) not in (Tensor, torch.nn.Parameter)
    )


def channels_last(x: Tensor) -> Tensor:
    """Return x (N, C, H, W) in channels-last memory format, so that norms and linear layers need no copy.

    On a GPU, x is returned unchanged unless the Triton kernels are used, because the effect on other
    operators has not been measured there.
    """
    # vmap does not support memory formats.
    if transforms() or not (x.is_cpu or use_triton(x)):
        return x
    return x.contiguous(memory_format=torch.channels_last)


def transforms() -> bool:
    """Return whether a transform of ``torch.func`` is active."""
    return torch._C._are_functorch_transforms_active()
