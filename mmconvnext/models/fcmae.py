"""Fully convolutional masked autoencoder: the pre-training of ConvNeXt V2."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..errors import check_counts
from ..registry import MODELS
from .convnext import INIT_CFG
from .fusion import FusedConvNeXtBlock
from .masked_autoencoder import MaskedAutoencoder
from .masking import VisiblePatches


@MODELS.register_module()
class FCMAE(MaskedAutoencoder):
    """Fully convolutional masked autoencoder (ConvNeXt V2, arXiv:2301.00808, section 3.1).

    As in the official ``models/fcmae.py``, but with the statistics of GRN for each image, as in the code that
    made the published weights (TRAINING.md, "JAX"), and with a standard deviation of 0.02 for all initial
    weights: the official script draws those of the encoder with 1.0.

    Args:
        backbone: see ``MaskedAutoencoder``.
        patch_size: see ``MaskedAutoencoder``.
        decoder_channels: channels of the decoder.
        decoder_depth: number of blocks of the decoder.
        **kwargs: see ``MaskedAutoencoder``.
    """

    def __init__(
        self,
        backbone: dict,
        patch_size: int = 32,
        decoder_channels: int = 512,
        decoder_depth: int = 1,
        **kwargs,
    ):
        check_counts(**{'model.decoder_channels': decoder_channels, 'model.decoder_depth': decoder_depth})
        super().__init__(backbone, patch_size, **kwargs)
        self.neck = FCMAEDecoder(
            self.backbone.channels[-1],
            self.backbone.downsample_layers[0][0].in_channels,
            self.backbone.min_input_size,
            width=decoder_channels,
            depth=decoder_depth,
        )


class FCMAEDecoder(BaseModule):
    """Predict the pixels of all patches from the last map of the visible ones.

    Removed positions become a trained token; blocks of ConvNeXt V2 follow, and a linear layer to pixels.

    Args:
        channels: channels of the last map of the encoder.
        image_channels: C, channels of the image.
        stride: pixels of the image for one position of that map, in each direction.
        width: channels of the decoder.
        depth: number of blocks.
    """

    def __init__(self, channels: int, image_channels: int, stride: int, *, width: int, depth: int):
        super().__init__(init_cfg=INIT_CFG)
        self.stride = stride
        self.proj = nn.Conv2d(channels, width, kernel_size=1)
        self.mask_token = nn.Parameter(torch.zeros(1, width, 1, 1))
        blocks = (FusedConvNeXtBlock(width, use_grn=True, layer_scale_init_value=0) for _ in range(depth))
        self.decoder = nn.Sequential(*blocks)
        self.pred = nn.Conv2d(width, stride**2 * image_channels, kernel_size=1)

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, states: tuple[Tensor, ...], visible: VisiblePatches) -> Tensor:
        """Maps of the visible patches, see ``ConvNeXt.visible_states`` -> images (N, C, H, W)."""
        return self.decode(visible.fill(self.proj(states[-1]), self.mask_token))

    def decode(self, x: Tensor) -> Tensor:
        """Map (N, width, H / stride, W / stride) with tokens at removed positions -> images (N, C, H, W)."""
        return to_pixels(self.pred(self.decoder(x)), self.stride)


def to_pixels(x: Tensor, side: int) -> Tensor:
    """Lay out predicted squares of pixels, in the order row, column, channel, as images.

    Args:
        x: (N, side * side * C, H, W).
        side: pixels along a square.

    Returns:
        (N, C, H * side, W * side).
    """
    squares = x.unflatten(1, (side, side, -1))  # N, row, column, C, H, W
    return squares.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)
