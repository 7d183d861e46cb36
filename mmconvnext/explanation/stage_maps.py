"""Show the features of every stage as colors."""

import torch
from mmengine.model import BaseModel
from torch import Tensor

from .classifier import classifier_of

# Relative to the largest singular value; smaller ones are rounding errors.
MIN_SINGULAR_VALUE = 1e-5


@torch.no_grad()
def stage_maps(model: BaseModel, images: Tensor) -> list[Tensor]:
    """Return the feature map of every stage as a picture: its first three principal components in RGB.

    For each image, the positions of a map are the samples and its channels are the variables: positions with
    similar colors have similar features. Signs of principal components are arbitrary; here, the channel with
    the largest weight has a positive one. Each component is stretched to the range 0 to 1; a constant one is
    0.5.

    Args:
        model: a classifier from ``get_model``, or an ``ImageClassifier`` with our backbone.
        images: (N, 3, H, W), normalized as by ``model.preprocessing``.

    Returns:
        (N, 3, h, w) from 0 to 1 for every stage, at its own resolution.

    Raises:
        UserError: the model is not such a classifier.
    """
    backbone = classifier_of(model).backbone
    _, *maps = backbone.hidden_states(images)  # the first map is that of the stem
    return [torch.stack([principal_colours(one.double()) for one in each]).float() for each in maps]


def principal_colours(features: Tensor) -> Tensor:
    """Map features (C, h, w) to colors (3, h, w)."""
    rows = features.flatten(1).T  # (h * w, C)
    rows = rows - rows.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    colours = features.new_full((3, len(rows)), 0.5)
    largest = rows.abs().max()
    for number, (size, direction) in enumerate(zip(sizes[:3], directions[:3], strict=True)):
        if largest == 0 or size <= MIN_SINGULAR_VALUE * sizes[0]:
            break
        values = rows @ direction * direction[direction.abs().argmax()].sign()
        colours[number] = (values - values.min()) / (values.max() - values.min())
    return colours.unflatten(1, features.shape[1:])
