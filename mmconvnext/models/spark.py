"""SparK: masked pre-training with a decoder that sees the maps of all stages."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..errors import UserError, check_counts
from ..registry import MODELS
from .block import build_norm
from .masked_autoencoder import MaskedAutoencoder
from .masking import VisiblePatches
from .network import LAYER_NORM

# Official decoder.py; the transposed convolutions are drawn by fan-out.
DECODER_INIT_CFG = [
    dict(type='TruncNormal', layer='Conv2d', std=0.02, bias=0.0),
    dict(type='Kaiming', layer='ConvTranspose2d'),
]


@MODELS.register_module()
class SparK(MaskedAutoencoder):
    """Sparse and hierarchical masked modeling (SparK, arXiv:2301.03580), with mmpretrain's decoder.

    Args:
        backbone: see ``MaskedAutoencoder``; its stride must be a power of 2.
        patch_size: see ``MaskedAutoencoder``; the official patches have the size of the stride, 32.
        decoder_channels: channels of the decoder at the smallest map, halved at each larger one: 768 in the
            official ``decoder.py``, 512 in mmpretrain.
        **kwargs: see ``MaskedAutoencoder``.

    Raises:
        UserError: the stride is no power of 2 or does not divide the channels, or see ``MaskedAutoencoder``.
    """

    def __init__(self, backbone: dict, patch_size: int = 32, decoder_channels: int = 768, **kwargs):
        check_counts(**{'model.decoder_channels': decoder_channels})
        super().__init__(backbone, patch_size, **kwargs)
        stride = self.backbone.min_input_size
        if stride & (stride - 1):
            raise UserError(
                f"SparK's decoder doubles maps up to that of the image, and the network's stride {stride} is "
                'no power of 2; set model.backbone.stem_patch_size to 4, for example'
            )
        if decoder_channels % stride:
            raise UserError(
                f'model.decoder_channels is {decoder_channels}; they are halved with each doubling of the '
                f'map, so they have to be a multiple of the stride {stride}, such as {24 * stride}'
            )
        self.neck = SparKDecoder(
            self.backbone.channels,
            self.backbone.downsample_layers[0][0].in_channels,
            stride,
            width=decoder_channels,
        )


class SparKDecoder(BaseModule):
    """Fill the maps of all stages with trained tokens, and decode them from the smallest to the largest.

    A map as large as the image, of a network whose stem has patches of one pixel, is not decoded.

    Args:
        channels: channels of the maps of the stages.
        image_channels: C, channels of the image.
        stride: pixels of the image for one position of the last map, in each direction; a power of 2.
        width: channels at the smallest map.
    """

    def __init__(self, channels: tuple[int, ...], image_channels: int, stride: int, *, width: int):
        super().__init__()
        doublings = stride.bit_length() - 1
        smallest_first = channels[::-1][:doublings]
        widths = [width // 2**i for i in range(doublings)]
        self.norms = nn.ModuleList(build_norm(LAYER_NORM, count) for count in smallest_first)
        self.mask_tokens = nn.ParameterList(torch.zeros(1, count, 1, 1) for count in smallest_first)
        self.projections = nn.ModuleList(
            nn.Conv2d(count, wide, kernel, padding=kernel // 2)
            for count, wide, kernel in zip(smallest_first, widths, [1] + [3] * doublings, strict=False)
        )
        if smallest_first[0] == width:
            self.projections[0] = nn.Identity()
        # torch's norm does not train without a GPU.
        norm = 'SyncBN' if torch.cuda.is_available() else 'mmconvnext.SyncBatchNorm'
        self.decoder = MODELS.build(
            dict(
                type='mmpretrain.SparKLightDecoder',
                feature_dim=width,
                upsample_ratio=stride,
                norm_cfg=dict(type=norm),
                init_cfg=DECODER_INIT_CFG,
            )
        )
        # mmpretrain's has 3 channels.
        self.decoder.proj = nn.Conv2d(width // stride, image_channels, kernel_size=1)

    def init_weights(self) -> None:
        super().init_weights()
        for token in self.mask_tokens:
            nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)

    def forward(self, states: tuple[Tensor, ...], visible: VisiblePatches) -> Tensor:
        """Maps of the visible patches, see ``ConvNeXt.visible_states`` -> images (N, C, H, W)."""
        states = states[::-1][: len(self.norms)]
        parts = zip(self.norms, self.mask_tokens, self.projections, states, strict=True)
        return self.decoder(
            [project(visible.fill(norm(state), token)) for norm, token, project, state in parts]
        )
