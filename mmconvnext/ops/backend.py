"""Which implementation an operator takes: one of ours, a Triton kernel, or plain torch."""

import os
import warnings
from importlib.util import find_spec

import torch
from torch import Tensor

HAS_TRITON = find_spec('triton') is not None
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Obstacles that were named.
REPORTED = set()


def use_triton(x: Tensor) -> bool:
    """Whether the kernels in ``ops/triton`` compute on x; asked for by ``MMCONVNEXT_TRITON=1``.

    They run on CUDA, and on a CPU in Triton's interpreter (``TRITON_INTERPRET=1`` from the start).
    """
    # Opt-in, since no GPU has timed these kernels yet. Make them the default on CUDA, one by one, as rows of
    # tools/benchmarks/kernels.py in tools/benchmarks/results/ show them ahead of plain and compiled torch.
    if os.environ.get('MMCONVNEXT_TRITON') != '1' or torch.jit.is_tracing() or transforms():
        return False
    device = x.device.type
    if device != 'cuda' and not (device == 'cpu' and os.environ.get('TRITON_INTERPRET') == '1'):
        obstacle = f'a tensor on {device}; they run on CUDA'
    elif x.dtype not in DTYPES:
        obstacle = f'{x.dtype}; they compute in {", ".join(map(str, DTYPES))}'
    elif not HAS_TRITON:
        obstacle = 'this environment: triton is not installed'
    else:
        return True
    if obstacle not in REPORTED:
        REPORTED.add(obstacle)
        warnings.warn(
            f'MMCONVNEXT_TRITON=1, but its kernels are not for {obstacle}. Plain torch computes instead.',
            stacklevel=3,
        )
    return False


def plain_torch(x: Tensor) -> bool:
    """Whether somebody else rewrites what is computed: torch's compiler, a tracer, a transform or a mode.

    They fuse better, or need operations that they know.
    """
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or transforms()
        or torch.autograd.forward_ad._current_level >= 0
        or type(x) not in (Tensor, torch.nn.Parameter)
    )


def channels_last(x: Tensor) -> Tensor:
    """x (N, C, H, W) with its channels last in memory, which norms and linear layers read without a copy.

    On a GPU as it is, unless the kernels compute: there that is not measured yet.
    """
    # vmap cannot tell memory formats.
    if transforms() or not (x.is_cpu or use_triton(x)):
        return x
    return x.contiguous(memory_format=torch.channels_last)


def transforms() -> bool:
    """Whether torch.func transforms what is computed."""
    return torch._C._are_functorch_transforms_active()
