"""What of a model is explained: its backbone and its head, as they predict."""

from copy import deepcopy
from itertools import chain
from typing import NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..errors import UserError
from ..models.linear_head import scores_of


class Classifier(NamedTuple):
    """Backbone and head of a model that predicts.

    Attributes:
        backbone: a ``ConvNeXt``.
        head: gives logits.
    """

    backbone: nn.Module
    head: nn.Module

    def logits(self, x: Tensor, stage: int) -> Tensor:
        """The map x (N, C, H, W) of a stage -> logits (N, classes), through all that comes behind it."""
        last = len(self.backbone.stages) - 1
        for i in range(stage + 1, last + 1):
            x = self.backbone.stages[i](self.backbone.downsample_layers[i](x))
        return self.classify(self.backbone.output(last, x))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """(N, C, H, W), normalised -> (N, classes), as the head predicts them."""
        return scores_of(self.head, self.classify(self.backbone(images)[-1]).float())

    def classify(self, features: Tensor) -> Tensor:
        """The backbone's output (N, C), or (N, C, H, W) where the norm came first, -> logits (N, classes)."""
        return self.head((features.mean(dim=(2, 3)) if features.ndim == 4 else features,))


def classifier_of(model: BaseModel) -> Classifier:
    """Take a model apart without changing it: while it trains, copies in evaluation share its weights.

    Switching the model itself would disturb whoever uses it in another thread.

    Raises:
        UserError: the model is no classifier with our backbone, or has it in its form for inference.
    """
    backbone, head = getattr(model, 'backbone', None), getattr(model, 'head', None)
    if head is None:
        raise UserError('the model has no head: it gives features, not classes; explain a classifier')
    if not hasattr(backbone, 'hidden_states'):
        raise UserError(
            f'the backbone is of type {type(backbone).__name__}, whose maps cannot be asked for; explain a '
            'classifier with mmconvnext.ConvNeXt, not in its form for inference'
        )
    parts = nn.ModuleList([backbone, head])
    if any(module.training for module in (*backbone.modules(), *head.modules())):
        weights = {id(tensor): tensor for tensor in chain(parts.parameters(), parts.buffers())}
        backbone, head = deepcopy(parts, weights).eval()
    return Classifier(backbone, head)


def checked(classes: Tensor, logits: Tensor) -> Tensor:
    """The classes where the logits are, once each image has one and the head knows them."""
    outputs = logits.shape[1]
    if classes.shape != logits.shape[:1] or not ((classes >= 0) & (classes < outputs)).all():
        raise UserError(
            f'classes are {classes.tolist()}; expected one for each of {len(logits)} images, from 0 to '
            f'{outputs - 1}'
        )
    return classes.to(logits.device)
