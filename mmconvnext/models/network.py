"""A classifier in two lines: which backbone, which head."""

from typing import NamedTuple

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..errors import UserError
from .archs import resolve_arch

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
