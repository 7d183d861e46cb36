"""Adapt weights for RGB images to networks with other input channels."""

from dataclasses import replace

from mmengine.logging import print_log
from torch import Tensor

from ..models.fitting import network_of
from ..models.network import Network
from .reading import Weights

STEM = 'backbone.downsample_layers.0.0.weight'


def with_in_channels(loaded: Weights, in_channels: int) -> Weights:
    """Adapt weights for RGB to another number of input channels, and log it.

    Args:
        loaded: weights with our names.
        in_channels: requested number of channels.
    """
    stem = loaded.tensors.get(STEM)
    if stem is None or stem.ndim != 4 or stem.shape[1] != 3 or in_channels == 3:
        return loaded
    how = 'the sum over them' if in_channels == 1 else f'the three in turn, scaled by 3/{in_channels}'
    print_log(
        f'{loaded.source} has weights for RGB images, the network takes {in_channels} '
        f'channel{"s" * (in_channels > 1)}: the first convolution gets {how}',
        logger='current',
    )
    network = loaded.network or network_of(loaded.tensors)
    return replace(
        loaded,
        tensors={**loaded.tensors, STEM: adapted(stem, in_channels)},
        network=Network({**network.backbone, 'in_channels': in_channels}, network.head),
        preprocessing=loaded.preprocessing and loaded.preprocessing.for_channels(in_channels),
    )


def adapted(stem: Tensor, in_channels: int) -> Tensor:
    """Adapt a weight (C, 3, h, w) to (C, in_channels, h, w), like ``in_chans`` in timm.

    A gray image gives the same response as an RGB image with three equal channels; more channels give
    responses of the same magnitude.
    """
    if in_channels == 1:
        return stem.float().sum(dim=1, keepdim=True).to(stem.dtype)
    repeated = stem.repeat(1, -(-in_channels // 3), 1, 1)[:, :in_channels]
    return (repeated.float() * (3 / in_channels)).to(stem.dtype)
