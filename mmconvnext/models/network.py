"""A classifier in two lines: which backbone, which head."""

import inspect
from typing import NamedTuple

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..errors import UserError
from .archs import LAYER_NORM, resolve_arch
from .convnext import ConvNeXt, resolve_kernel_sizes

DEFAULTS = {name: p.default for name, p in inspect.signature(ConvNeXt).parameters.items()}

# What a head makes of its outputs: probabilities that sum to one, one probability each, or values.
HEAD_KINDS = ('softmax', 'sigmoid', 'regression')


class Network(NamedTuple):
    """Arguments of backbone and head, as a config has them.

    Attributes:
        backbone: of ``ConvNeXt``.
        head: ``num_classes``, ``hidden_channels`` for a hidden layer, and ``kind`` of ``HEAD_KINDS``; None:
            features only.
    """

    backbone: dict
    head: dict | None

    def config(self) -> dict:
        """Config of mmpretrain's ``ImageClassifier``, for any default scope."""
        channels = resolve_arch(self.backbone['arch'])['channels'][-1]
        cfg = dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmconvnext.ConvNeXt', **self.backbone),
            head=self.head and head_config(in_channels=channels, **self.head),
        )
        if not self.backbone.get('gap_before_final_norm', True):
            cfg['neck'] = dict(type='mmpretrain.GlobalAveragePooling')
        return cfg

    def deviations(self) -> dict[str, str]:
        """What sets it apart from the published code, of which most formats are: argument -> finding."""
        backbone = {**DEFAULTS, **self.backbone}
        arch = resolve_arch(backbone['arch'])
        norm = backbone['norm_cfg'] or arch['norm_cfg']
        last_norm = backbone['out_norm_cfg'] or norm
        kernel_sizes = set(resolve_kernel_sizes(backbone['kernel_size'], len(arch['depths'])))
        wanted = dict(
            stem_type=(backbone['stem_type'], 'patch'),
            stem_norm=(arch['stem_norm'], True),
            kernel_size=(kernel_sizes, {7}),
            mlp_ratio=(backbone['mlp_ratio'], 4.0),
            conv_bias=(backbone['conv_bias'], True),
            act_cfg=(backbone['act_cfg'], 'gelu'),
            gap_before_final_norm=(backbone['gap_before_final_norm'], True),
            output_stride=(backbone['output_stride'], None),
            norm_cfg=(norm, LAYER_NORM),
            out_norm_cfg=(last_norm, LAYER_NORM),
            hidden_channels=((self.head or {}).get('hidden_channels'), None),
        )
        return {key: f'{key} is {found!r}' for key, (found, expected) in wanted.items() if found != expected}

    def build_on_meta(self) -> nn.Module:
        """The model without memory, for its names and shapes.

        Raises:
            UserError: there is no such network.
        """
        init_default_scope('mmpretrain')
        try:
            with torch.device('meta'):
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
        # Without a loss, one output is regression.
        loss = dict(type='mmpretrain.CrossEntropyLoss') if kind == 'softmax' and num_classes == 1 else None
        return dict(type='mmconvnext.LinearClsHead', **common, **({'loss': loss} if loss else {}))
    return dict(
        type='mmpretrain.StackedLinearClsHead',
        **common,
        mid_channels=[hidden_channels],
        act_cfg=dict(type='GELU'),
    )
