"""Occlusion sensitivity: how much a prediction changes when a part of the image is hidden."""

from itertools import product

import torch
from mmengine.model import BaseModel
from torch import Tensor

from ..errors import UserError
from .classifier import checked, classifier_of

# Default number of patches along the short side: 32 pixels of 224.
PATCHES = 7


@torch.no_grad()
def occlusion(
    model: BaseModel,
    images: Tensor,
    classes: Tensor | None = None,
    *,
    patch: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Compute the drop of a class probability when a gray patch covers a pixel.

    Occlusion sensitivity: Zeiler and Fergus, arXiv:1311.2901.

    The patch has the mean color of the training images, which is 0 after normalization. The value of a pixel
    is the mean over all patches that cover it. The model is not changed, so threads may share it.

    Args:
        model: a classifier from ``get_model``, or an ``ImageClassifier`` with our backbone.
        images: (N, 3, H, W), normalized as by ``model.preprocessing``.
        classes: (N,) numbers of the classes to explain; None: the predicted classes.
        patch: side of the patch in pixels; None: a seventh of the image's short side.
        stride: distance between positions of the patch in pixels, at most ``patch``; None: half a patch.
        batch_size: number of covered images per forward pass.

    Returns:
        (N, H, W) from -1 to 1, float32: positive where the hidden area supports the class.

    Raises:
        UserError: the model is not such a classifier, has no such class, or patch and stride do not fit.
    """
    classifier = classifier_of(model)
    height, width = images.shape[2:]
    patch, stride = resolve_patch(patch, stride, height, width)
    before = classifier.probabilities(images)
    if before.shape[1] == 1:
        raise UserError('the model has one output, which is no probability; explain it by Grad-CAM')
    classes = before.argmax(dim=1) if classes is None else checked(classes, before)
    places = list(product(*(range_to(extent - patch, stride) for extent in (height, width))))
    drops, covers = (torch.zeros(images[:, 0].shape, device=images.device) for _ in range(2))
    for number, label in enumerate(classes.tolist()):
        for start in range(0, len(places), batch_size):
            some = places[start : start + batch_size]
            covered = images[number].repeat(len(some), 1, 1, 1)
            for image, (top, left) in zip(covered, some, strict=True):
                image[:, top : top + patch, left : left + patch] = 0
            after = classifier.probabilities(covered)[:, label]
            for (top, left), drop in zip(some, before[number, label] - after, strict=True):
                drops[number, top : top + patch, left : left + patch] += drop
                covers[number, top : top + patch, left : left + patch] += 1
    return drops / covers


def resolve_patch(patch: int | None, stride: int | None, height: int, width: int) -> tuple[int, int]:
    """Return side and stride of the patch, with defaults for None."""
    side = min(height, width)
    patch = max(1, round(side / PATCHES)) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= stride <= patch <= side:
        raise UserError(
            f'the patch has {patch} pixels and a stride of {stride}; expected 1 <= stride <= patch '
            f'<= {side}, since the images have {width} x {height} pixels'
        )
    return patch, stride


def range_to(end: int, step: int) -> list[int]:
    """Return 0, step, ... and the end itself, so that the last rows of pixels are covered, too."""
    return [*range(0, end, step), end]
