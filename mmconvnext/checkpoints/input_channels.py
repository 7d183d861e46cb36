"""Weights of RGB images in a network for images of other channels."""

from dataclasses import replace

from mmengine.logging import print_log
from torch import Tensor

from ..models.fitting import network_of
from ..models.network import Network
from .reading import Weights

STEM = 'backbone.downsample_layers.0.0.weight'


def with_in_channels(loaded: Weights, in_channels: int) -> Weights:
    """The weights for a network of other input channels, if they are those for RGB; the log says so.

    Args:
        loaded: weights under our names.
        in_channels: that the caller asked for.
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
    """(C, 3, h, w) -> (C, in_channels, h, w), as timm's ``in_chans`` has it.

    A gray image gives what it gave as RGB of three equal channels; more channels give responses of the
    same size.
    """
    if in_channels == 1:
        return stem.float().sum(dim=1, keepdim=True).to(stem.dtype)
    repeated = stem.repeat(1, -(-in_channels // 3), 1, 1)[:, :in_channels]
    return (repeated.float() * (3 / in_channels)).to(stem.dtype)
