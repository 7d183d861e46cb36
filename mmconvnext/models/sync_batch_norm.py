"""Batch norm over all processes without a GPU, where torch has none."""

import torch
from mmengine.dist import is_distributed
from torch import Tensor, nn

from ..registry import MODELS


@MODELS.register_module()
class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm of maps in training with the statistics of all processes, as ``torch.nn.SyncBatchNorm``."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, C, H, W)."""
        if not (self.training and is_distributed()):
            return super().forward(x)
        dtype, x = x.dtype, x.float()  # statistics of bf16 would lose digits
        count = Sum.apply(x.new_tensor(x.numel() / x.shape[1]))
        mean = Sum.apply(x.sum((0, 2, 3))) / count
        x = x - mean[:, None, None]
        variance = Sum.apply(x.square().sum((0, 2, 3))) / count
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_((variance * count / (count - 1).clip(1)).detach(), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (x * scale[:, None, None] + self.bias[:, None, None]).to(dtype)


class Sum(torch.autograd.Function):
    """Sum of a tensor over all processes; each of them depends on those of all others."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return Sum.forward(ctx, gradient)
