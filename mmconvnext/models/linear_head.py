"""The classification head: one linear layer on pooled features."""

from collections.abc import Sequence

import torch
from mmpretrain.models.heads import LinearClsHead as MMPretrainLinearClsHead
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..registry import MODELS

# As in mmpretrain's head.
INIT_CFG = dict(type='Normal', layer='Linear', std=0.01)


def scores_of(head: nn.Module, logits: Tensor) -> Tensor:
    """Convert the outputs of a head to scores (N, num_classes), as ``pred_score`` of its predictions."""
    if getattr(head, 'regression', False):
        return logits
    return logits.sigmoid() if isinstance(head, MultiLabelClsHead) else logits.softmax(dim=1)


def rank(scores: Tensor, topk: int, classes: Sequence[str] | None) -> list[dict]:
    """Return dicts of label, class (None without names) and score of the likeliest classes, best first."""
    best = scores.topk(min(topk, len(scores)))
    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [class_of(label, classes) | {'score': score} for label, score in ranked]


def class_of(label: int, classes: Sequence[str] | None) -> dict:
    return {'label': label, 'class': classes[label] if classes else None}


@MODELS.register_module()
class LinearClsHead(MMPretrainLinearClsHead):
    """mmpretrain's ``LinearClsHead`` with dropout, scaled initial weights and regression.

    With ``num_classes=1`` and no ``loss``, it is a regression head, as in transformers with ``num_labels=1``:
    the loss is the mean squared error to ``gt_score`` (or ``gt_label``), and the output is ``pred_score``.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the features.
        loss: loss config; None: cross entropy, or mean squared error for one output.
        dropout_rate: probability of dropping a feature in training.
        head_init_scale: factor for the initial weights (official fine-tuning: 0.001).
        init_cfg: weight initialization.
        **kwargs: ``topk`` and ``cal_acc`` of mmpretrain's head.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict | nn.Module | None = None,
        dropout_rate: float = 0.0,
        head_init_scale: float = 1.0,
        init_cfg: dict | list | None = INIT_CFG,
        **kwargs,
    ):
        self.regression = num_classes == 1 and loss is None
        if self.regression and kwargs.get('cal_acc'):
            raise ValueError(
                'cal_acc is set, but one output without a loss is regression and has no accuracy'
            )
        if loss is None:
            loss = nn.MSELoss() if self.regression else dict(type='CrossEntropyLoss', loss_weight=1.0)
        super().__init__(num_classes, in_channels, init_cfg=init_cfg, loss=loss, **kwargs)
        self.dropout = nn.Dropout(dropout_rate)
        self.head_init_scale = head_init_scale

    def init_weights(self) -> None:
        fresh = not self.is_init
        super().init_weights()
        settings = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg or {}]
        pretrained = any(each.get('type') == 'Pretrained' for each in settings)
        if fresh and not pretrained and self.head_init_scale != 1:
            with torch.no_grad():
                self.fc.weight.mul_(self.head_init_scale)
                self.fc.bias.mul_(self.head_init_scale)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Compute logits (N, num_classes) from the last of the features (N, in_channels)."""
        return self.fc(self.dropout(self.pre_logits(feats)))

    def _get_loss(self, cls_score: Tensor, data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        if not self.regression:
            return super()._get_loss(cls_score, data_samples, **kwargs)
        target = torch.cat([s.gt_score if 'gt_score' in s else s.gt_label for s in data_samples])
        return dict(loss=self.loss_module(cls_score.flatten(), target.to(cls_score)))

    def _get_predictions(
        self, cls_score: Tensor, data_samples: list[DataSample | None] | None
    ) -> list[DataSample]:
        if not self.regression:
            return super()._get_predictions(cls_score, data_samples)
        samples = [None] * len(cls_score) if data_samples is None else data_samples
        return [
            (sample or DataSample()).set_pred_score(score)
            for sample, score in zip(samples, cls_score, strict=True)
        ]
