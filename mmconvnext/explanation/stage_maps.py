"""What the stages tell apart, as colours."""

import torch
from mmengine.model import BaseModel
from torch import Tensor

from .classifier import classifier_of

# Of the largest singular value; what is below is rounding.
SMALLEST_PART = 1e-5


@torch.no_grad()
def stage_maps(model: BaseModel, images: Tensor) -> list[Tensor]:
    """The map of every stage as a picture: its first three principal components in red, green and blue.

    The places of a map are the samples and its channels the variables, of each image by itself: places of
    like colour have like features. Signs are arbitrary in principal components; here the channel with the
    largest weight has a positive one. Each component is stretched from 0 to 1; one that does not vary is 0.5.

    Args:
        model: a classifier from ``get_model``, or an ``ImageClassifier`` with our backbone.
        images: (N, 3, H, W), normalised as by ``model.preprocessing``.

    Returns:
        (N, 3, h, w) from 0 to 1 for every stage, at its own resolution.

    Raises:
        UserError: the model is no such classifier.
    """
    backbone = classifier_of(model).backbone
    _, *maps = backbone.hidden_states(images)  # the first is the stem's
    return [torch.stack([principal_colours(one.double()) for one in each]).float() for each in maps]


def principal_colours(features: Tensor) -> Tensor:
    """(C, h, w) -> (3, h, w)."""
    rows = features.flatten(1).T  # (h * w, C)
    rows = rows - rows.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    colours = features.new_full((3, len(rows)), 0.5)
    largest = rows.abs().max()
    for number, (size, direction) in enumerate(zip(sizes[:3], directions[:3], strict=True)):
        if largest == 0 or size <= SMALLEST_PART * sizes[0]:
            break
        values = rows @ direction * direction[direction.abs().argmax()].sign()
        colours[number] = (values - values.min()) / (values.max() - values.min())
    return colours.unflatten(1, features.shape[1:])
