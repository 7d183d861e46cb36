"""FCMAE on whole maps, zeroed at masked positions, as the official JAX code computes it."""

import torch
from torch import Tensor

from mmconvnext.models import FCMAE, ConvNeXt
from mmconvnext.models.masking import VisiblePatches


def dense_states(net: ConvNeXt, images: Tensor, masked: Tensor) -> list[Tensor]:
    """Return the maps (N, C, H / stride, W / stride) of all stages, zero at masked positions.

    Args:
        net: network with linear layers.
        images: (N, C, H, W).
        masked: (N, rows, columns) of bool, True for masked patches.
    """
    states, x = [], images
    for downsample, stage in zip(net.downsample_layers, net.stages, strict=True):
        x = downsample(x)
        size = x.shape[2] // masked.shape[1]
        visible = (~masked).repeat_interleave(size, 1).repeat_interleave(size, 2)[:, None].to(x.dtype)
        x = x * visible
        for block in stage:
            x = (x + dense_branch(block, x, visible)) * visible
        states.append(x)
    return states


def dense_branch(block: torch.nn.Module, x: Tensor, visible: Tensor) -> Tensor:
    """Return what a block adds to x (N, C, H, W); visible is (N, 1, H, W) of 0 and 1."""
    y = block.norm(block.depthwise_conv(x)).movedim(1, -1)
    y = block.act(block.pointwise_conv1(y))
    if block.grn is not None:
        response = (y * visible.movedim(1, -1)).square().sum((1, 2), keepdim=True).sqrt()
        share = response / (response.mean(-1, keepdim=True) + block.grn.eps)
        y = y + block.grn.gamma * (y * share) + block.grn.beta
    y = block.pointwise_conv2(y)
    return (y if block.gamma is None else y * block.gamma).movedim(-1, 1)


class DenseFCMAE(FCMAE):
    """FCMAE on whole maps, with patches of the size of the backbone's stride."""

    def reconstruct(self, inputs: Tensor, visible: VisiblePatches) -> Tensor:
        x = dense_states(self.backbone, inputs, visible.masked)[-1]
        return self.neck.decode(torch.where(visible.masked[:, None], self.neck.mask_token, self.neck.proj(x)))
