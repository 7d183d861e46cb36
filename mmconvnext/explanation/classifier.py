"""Split a classifier into backbone and head for explanations."""

from copy import deepcopy
from itertools import chain
from typing import NamedTuple

import torch
from mmengine.model import BaseModel
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor, nn

from ..errors import UserError
from ..models.linear_head import scores_of


class Classifier(NamedTuple):
    """Backbone and head of a classifier in evaluation mode.

    Attributes:
        backbone: a ``ConvNeXt``.
        head: head that computes logits.
    """

    backbone: nn.Module
    head: nn.Module

    def logits(self, x: Tensor, stage: int) -> Tensor:
        """Compute logits (N, classes) from the feature map x (N, C, H, W) of a stage."""
        last = len(self.backbone.stages) - 1
        for i in range(stage + 1, last + 1):
            x = self.backbone.stages[i](self.backbone.downsample_layers[i](x))
        return self.classify(self.backbone.output(last, x))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Compute the head's probabilities (N, classes) for normalized images (N, C, H, W)."""
        return scores_of(self.head, self.classify(self.backbone(images)[-1]).float())

    def classify(self, features: Tensor) -> Tensor:
        """Compute logits (N, classes) from the backbone's output: (N, C), or (N, C, H, W) without pooling."""
        return self.head((features.mean(dim=(2, 3)) if features.ndim == 4 else features,))


def classifier_of(model: BaseModel) -> Classifier:
    """Return backbone and head of a model without changing it; in training mode, copies share its weights.

    Switching the mode of the model itself would affect other threads that use it.

    Raises:
        UserError: the model is not a classifier with our backbone, or it is optimized for inference.
    """
    backbone, head = getattr(model, 'backbone', None), getattr(model, 'head', None)
    if head is None or isinstance(model, BaseSelfSupervisor):
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
    """Check class numbers and move them to the device of the logits."""
    outputs = logits.shape[1]
    if classes.shape != logits.shape[:1] or not ((classes >= 0) & (classes < outputs)).all():
        raise UserError(
            f'classes are {classes.tolist()}; expected one for each of {len(logits)} images, from 0 to '
            f'{outputs - 1}'
        )
    return classes.to(logits.device)
