"""Sizes of the named networks, and configs of classifiers from the arguments of backbone and head."""

from typing import NamedTuple

import torch
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from torch import nn

from ..errors import UserError
from ..registry import default_scope

LAYER_NORM = dict(type='LN2d', eps=1e-6)

# Depths and channels of each stage, and stem and norm if they differ from the default (4x4 patches, a norm
# after the stem, LayerNorm with eps 1e-6).
ARCHS = {
    # timm's convnext_zepto_rms
    'zepto': dict(
        depths=(2, 2, 4, 2), channels=(32, 64, 128, 256), norm_cfg=dict(type='SimpleNorm2d', eps=1e-6)
    ),
    'atto': dict(depths=(2, 2, 6, 2), channels=(40, 80, 160, 320)),
    'femto': dict(depths=(2, 2, 6, 2), channels=(48, 96, 192, 384)),
    'pico': dict(depths=(2, 2, 6, 2), channels=(64, 128, 256, 512)),
    'nano': dict(depths=(2, 2, 8, 2), channels=(80, 160, 320, 640)),
    'tiny': dict(depths=(3, 3, 9, 3), channels=(96, 192, 384, 768)),
    'small': dict(depths=(3, 3, 27, 3), channels=(96, 192, 384, 768)),
    'base': dict(depths=(3, 3, 27, 3), channels=(128, 256, 512, 1024)),
    'large': dict(depths=(3, 3, 27, 3), channels=(192, 384, 768, 1536)),
    'xlarge': dict(depths=(3, 3, 27, 3), channels=(256, 512, 1024, 2048)),
    'huge': dict(depths=(3, 3, 27, 3), channels=(352, 704, 1408, 2816)),
    # timm's convnext_xxlarge
    'xxlarge': dict(
        depths=(3, 4, 30, 3), channels=(384, 768, 1536, 3072), norm_cfg=dict(type='LN2d', eps=1e-5)
    ),
    # V1 paper, section 3.3; official models/convnext_isotropic.py
    'isotropic-small': dict(depths=(18,), channels=(384,), stem_patch_size=16, stem_norm=False),
    'isotropic-base': dict(depths=(18,), channels=(768,), stem_patch_size=16, stem_norm=False),
    'isotropic-large': dict(depths=(36,), channels=(1024,), stem_patch_size=16, stem_norm=False),
}


def resolve_arch(arch: str | dict) -> dict:
    """Return a complete entry in the form of ``ARCHS``, with all keys and with sizes as tuples."""
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(
                f'arch {arch!r} is unknown; choose from {", ".join(ARCHS)}, '
                'or pass a dict with depths and channels'
            )
        arch = ARCHS[arch]
    defaults = dict(stem_patch_size=4, stem_norm=True, norm_cfg=LAYER_NORM)
    known = {'depths', 'channels', *defaults}
    if not {'depths', 'channels'} <= set(arch) <= known:
        raise ValueError(
            f'arch has the keys {sorted(arch)}; it needs depths and channels, and may have {defaults}'
        )
    depths, channels = tuple(arch['depths']), tuple(arch['channels'])
    if len(depths) != len(channels) or not depths or min(depths + channels) < 1:
        raise ValueError(
            f'arch has depths {depths} and channels {channels}; each needs one positive number per stage'
        )
    return {**defaults, **arch, 'depths': depths, 'channels': channels}


# Outputs of a head: probabilities that sum to one, independent probabilities, or values.
HEAD_KINDS = ('softmax', 'sigmoid', 'regression')


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of a wrapper for several processes, or the model itself."""
    return model.module if is_model_wrapper(model) else model


class Network(NamedTuple):
    """Arguments of backbone and head in a config.

    Attributes:
        backbone: arguments of ``ConvNeXt``.
        head: ``num_classes``, ``hidden_channels`` for a hidden layer, and ``kind`` from ``HEAD_KINDS``; None
            for features only.
    """

    backbone: dict
    head: dict | None

    def config(self) -> dict:
        """Return the config of mmpretrain's ``ImageClassifier``, for any default scope."""
        channels = resolve_arch(self.backbone['arch'])['channels'][-1]
        cfg = dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmconvnext.ConvNeXt', **self.backbone),
            head=self.head and head_config(in_channels=channels, **self.head),
        )
        if not self.backbone.get('gap_before_final_norm', True):
            cfg['neck'] = dict(type='mmpretrain.GlobalAveragePooling')
        return cfg

    def build_on_meta(self) -> nn.Module:
        """Build the model on the meta device, for parameter names and shapes.

        Raises:
            UserError: the network cannot be built.
        """
        try:
            with torch.device('meta'), default_scope('mmpretrain'):
                return MODELS.build(self.config())
        except ValueError as error:
            raise UserError(f'the network cannot be built: {error}') from error


def head_config(
    num_classes: int, in_channels: int, hidden_channels: int | None = None, kind: str | None = None
) -> dict:
    common = dict(num_classes=num_classes, in_channels=in_channels)
    if kind == 'sigmoid':
        return dict(type='mmpretrain.MultiLabelLinearClsHead', **common)
    if hidden_channels is None:
        # Without a loss, a single output is a regression.
        loss = dict(type='mmpretrain.CrossEntropyLoss') if kind == 'softmax' and num_classes == 1 else None
        return dict(type='mmconvnext.LinearClsHead', **common, **({'loss': loss} if loss else {}))
    return dict(
        type='mmpretrain.StackedLinearClsHead',
        **common,
        mid_channels=[hidden_channels],
        act_cfg=dict(type='GELU'),
    )
