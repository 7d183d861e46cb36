"""Where an op of ours steps aside for plain torch."""

import torch
from torch import Tensor


def plain_torch() -> bool:
    """Whether somebody else rewrites what is computed: torch's compiler, a tracer, or a transform.

    They fuse better, or need operations that they know.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or transforms()


def channels_last(x: Tensor) -> Tensor:
    """x (N, C, H, W) with its channels last in memory, which norms and linear layers read without a copy."""
    # vmap cannot tell memory formats.
    return x if transforms() else x.contiguous(memory_format=torch.channels_last)


def transforms() -> bool:
    """Whether torch.func transforms what is computed."""
    return torch._C._are_functorch_transforms_active()
