"""All outputs of a classifier in one call, with the names of transformers."""

from typing import NamedTuple

import torch.nn.functional as F
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor, nn

from ..errors import UserError


class Outputs(NamedTuple):
    """Outputs of a classifier.

    Attributes:
        last_hidden_state: (N, C, H, W), feature map of the last stage before the final norm.
        pooler_output: (N, C), pooled and normalized features, the input of the head.
        hidden_states: feature maps of the stem and of every stage.
        logits: (N, classes); None without a head.
        loss: cross entropy, or mean squared error for one output; None without labels.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor
    hidden_states: tuple[Tensor, ...]
    logits: Tensor | None
    loss: Tensor | None


def outputs_of(model: nn.Module, images: Tensor, labels: Tensor | None = None) -> Outputs:
    """Compute all outputs of a classifier, differentiably.

    Args:
        model: a classifier from ``get_model``, or an ``ImageClassifier`` with our backbone.
        images: (N, 3, H, W), normalized as by ``model.preprocessing``.
        labels: (N,) class numbers, or values for a model with one output.

    Raises:
        ValueError: labels were given to a model without a head, or the model is a pre-training.
    """
    if isinstance(model, BaseSelfSupervisor):
        raise UserError(
            'a pre-training predicts pixels and has no final norm; for its features, build a model from '
            'its checkpoint alone: get_model(FILE)'
        )
    head = getattr(model, 'head', None)
    if labels is not None and head is None:
        raise ValueError('labels were given, but the model has no head; pass head=dict(num_classes=...)')
    hidden_states = model.backbone.hidden_states(images)
    pooled = model.backbone.output(len(hidden_states) - 2, hidden_states[-1])
    if pooled.ndim == 4:  # the norm precedes the pooling
        pooled = pooled.mean(dim=(2, 3))
    logits = None if head is None else head((pooled,))
    loss = None
    if labels is not None:
        one = logits.shape[1] == 1
        loss = F.mse_loss(logits[:, 0], labels.to(logits)) if one else F.cross_entropy(logits, labels)
    return Outputs(hidden_states[-1], pooled, hidden_states, logits, loss)
