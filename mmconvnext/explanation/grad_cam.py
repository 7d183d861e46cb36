"""Grad-CAM: where the features are that support a class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from ..models.convnext import resolve_out_indices
from .classifier import checked, classifier_of

MIN_POSITIONS = 4


def grad_cam(
    model: BaseModel, images: Tensor, classes: Tensor | None = None, stage: int | None = None
) -> Tensor:
    """Compute heat maps of the evidence for a class (Selvaraju et al., arXiv:1610.02391, equations 1 and 2).

    Each channel of a stage's feature map is weighted by the mean gradient of the class logit over the map;
    positive values of the sum support the class. The model is not changed, so threads may share it.

    Args:
        model: a classifier from ``get_model``, or an ``ImageClassifier`` with our backbone.
        images: (N, 3, H, W), normalized as by ``model.preprocessing``.
        classes: (N,) numbers of the classes to explain; None: the predicted classes.
        stage: stage whose map is used, counted from the end if negative; None: see ``pointing_stage``.
            Earlier maps are finer, but their features are less meaningful.

    Returns:
        (N, H, W) from 0 to 1, float32: interpolated bilinearly and divided by the maximum of each image. All
        0 if nothing supports the class.

    Raises:
        UserError: the model is not such a classifier, or has no such class.
        ValueError: the model has no such stage, or the image is too small for it.
    """
    backbone, _ = classifier = classifier_of(model)
    if stage is not None:
        (stage,) = resolve_out_indices(stage, len(backbone.stages))
    with torch.inference_mode(False):
        with torch.no_grad():
            _, *maps = backbone.hidden_states(images)  # the first map is that of the stem
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
    """Return the index of the last map (N, C, h, w) that is large enough to show a location, or 0.

    Such a map has at least ``MIN_POSITIONS`` in both directions; for small images, the last map is a single
    position.
    """
    return max((i for i, each in enumerate(maps) if min(each.shape[2:]) >= MIN_POSITIONS), default=0)
