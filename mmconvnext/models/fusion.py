"""ConvNeXt block that computes its MLP as one fused operation if that is faster."""

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from ..ops.backend import plain_torch, use_triton
from ..ops.block_mlp import Constants, Weights, block_mlp
from .block import GRN, ConvNeXtBlock, LayerNorm2d
from .masking import VisiblePatches

# Exact types: subclasses, such as those of LoRA or quantization, compute something else.
FUSED_TYPES = dict(
    norm=(LayerNorm2d,),
    pointwise_conv1=(nn.Linear,),
    act=(nn.GELU,),
    grn=(GRN, type(None)),
    pointwise_conv2=(nn.Linear,),
    drop_path=(DropPath, nn.Identity),
)
# With fewer hidden values, the overhead of the calls exceeds the gain.
MIN_FUSED_ELEMENTS = 1 << 20
HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')


class FusedConvNeXtBlock(ConvNeXtBlock):
    """``ConvNeXtBlock`` with less memory for the MLP, and the same results and state dict."""

    def _forward(self, x: Tensor, visible: VisiblePatches | None) -> Tensor:
        y = self._convolve(x, visible)
        return fused_mlp(self, y, x) if can_fuse(self, y) else x + self.drop_path(self._mlp(y))


def can_fuse(block: ConvNeXtBlock, x: Tensor) -> bool:
    """Return whether the fused MLP applies to a map x (N, C, H, W) after the depthwise convolution.

    It applies to plain modules and weights without hooks, and to maps that are large enough to gain.
    """
    if plain_torch(x) or not (x.is_cpu or use_triton(x)):
        return False
    modules = [getattr(block, name) for name in FUSED_TYPES]
    weights = [
        getattr(module, name, None)
        for module in (block.norm, block.pointwise_conv1, block.pointwise_conv2)
        for name in ('weight', 'bias')
    ]
    return (
        all(type(module) in types for module, types in zip(modules, FUSED_TYPES.values(), strict=True))
        and all(type(weight) in (nn.Parameter, Tensor) for weight in weights)  # not None
        and not any('forward' in vars(module) for module in modules if module)
        and x[:, 0].numel() * block.pointwise_conv1.out_features >= MIN_FUSED_ELEMENTS
        and not any(getattr(module, hooks) for module in modules if module for hooks in HOOKS)
    )


def fused_mlp(block: ConvNeXtBlock, x: Tensor, residual: Tensor) -> Tensor:
    """Compute the rest of a block from the convolved x (N, C, H, W), and add the residual (N, C, H, W)."""
    norm, linear1, grn, linear2 = block.norm, block.pointwise_conv1, block.grn, block.pointwise_conv2
    kept, scale = draw(block.drop_path, x)
    out = block_mlp(
        rows_of(x),
        rows_of(residual),
        kept,
        Constants(norm.eps, block.act.approximate, 0.0 if grn is None else grn.eps, scale),
        Weights(
            norm.weight,
            norm.bias,
            linear1.weight,
            linear1.bias,
            None if grn is None else grn.gamma,
            None if grn is None else grn.beta,
            linear2.weight,
            linear2.bias,
            block.gamma,
        ),
    )
    return out.transpose(1, 2).unflatten(2, x.shape[2:])


def draw(drop_path: nn.Module, x: Tensor) -> tuple[Tensor | None, float]:
    """Return the indices of the images of x that ``DropPath`` keeps (None for all), and their scale.

    They are drawn on the CPU, because reading them from a GPU would have to wait for it.
    """
    if not isinstance(drop_path, DropPath) or not drop_path.training:
        return None, 1.0
    kept = (torch.rand(len(x), device='cpu') >= drop_path.drop_prob).nonzero().flatten()
    numbers = None if len(kept) == len(x) else kept.to(x.device, non_blocking=True)
    return numbers, 1 / (1 - drop_path.drop_prob)


def rows_of(x: Tensor) -> Tensor:
    """Return x (N, C, H, W) as contiguous (N, H * W, C), which is a view if x is in channels-last format."""
    return x.movedim(1, -1).flatten(1, 2).contiguous()
