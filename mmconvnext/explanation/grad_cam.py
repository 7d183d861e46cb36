"""Grad-CAM: where the features lie that speak for a class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from ..models.convnext import resolve_out_indices
from .classifier import checked, classifier_of

FEWEST_PLACES = 4


def grad_cam(
    model: BaseModel, images: Tensor, classes: Tensor | None = None, stage: int | None = None
) -> Tensor:
    """Heat maps of the evidence for a class (Selvaraju et al., arXiv:1610.02391, equations 1 and 2).

    Each channel of a stage's map is weighted by the mean gradient of the class's logit over the map;
    what is positive in their sum speaks for the class. The model stays as it is, so threads may share it.

    Args:
        model: a classifier from ``get_model``, or an ``ImageClassifier`` with our backbone.
        images: (N, 3, H, W), normalised as by ``model.preprocessing``.
        classes: (N,) numbers of the classes to explain; None: those that are predicted.
        stage: whose map is weighted, negative ones counted from the end; None: see ``pointing_stage``.
            Earlier maps are finer, but their features mean less.

    Returns:
        (N, H, W) from 0 to 1, float32: enlarged bilinearly, each divided by its maximum. All 0 where
        nothing speaks for the class.

    Raises:
        UserError: the model is no such classifier, or has no such class.
        ValueError: it has no such stage, or the image is too small for it.
    """
    backbone, _ = classifier = classifier_of(model)
    if stage is not None:
        (stage,) = resolve_out_indices(stage, len(backbone.stages))
    with torch.inference_mode(False):
        with torch.no_grad():
            _, *maps = backbone.hidden_states(images)  # the first is the stem's
        if stage is None:
            stage = pointing_stage(maps)
        maps = maps[stage]
        with torch.enable_grad():
            maps.requires_grad_()
            logits = classifier.logits(maps, stage)
            classes = logits.argmax(dim=1) if classes is None else checked(classes, logits)
            score = logits.gather(1, classes[:, None]).sum()
        (gradients,) = torch.autograd.grad(score, maps)
    weights = gradients.float().mean(dim=(2, 3), keepdim=True)
    heat = (weights * maps.detach().float()).sum(dim=1, keepdim=True).relu()
    heat = F.interpolate(heat, images.shape[2:], mode='bilinear', align_corners=False)[:, 0]
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)


def pointing_stage(maps: Sequence[Tensor]) -> int:
    """Number of the last of the stages' maps (N, C, h, w) on which heat can point somewhere, or of the first.

    It has ``FEWEST_PLACES`` in both directions: small images end in a single place.
    """
    return max((i for i, each in enumerate(maps) if min(each.shape[2:]) >= FEWEST_PLACES), default=0)
