"""Draw masked images with what a pre-trained network reconstructs of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import default_collate
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from ..files import written_whole
from ..models.masked_autoencoder import MaskedAutoencoder
from .annotated import FONT, MARGIN, OTHER, ROW, elide, fit_to_look_at
from .pictures import displayed

TITLES = 'original', 'masked', 'reconstruction'
SIDE = 160  # pixels, the smallest long side of a picture


class Reconstruction(NamedTuple):
    """
    Attributes:
        name: name of the image in the picture.
        pictures: input of the network, the same with gray patches for the removed ones, and with predicted
            ones in their places, (H, W, 3) each, uint8 in RGB.
    """

    name: str
    pictures: list[np.ndarray]


@torch.no_grad()
def reconstruct_sample(model: MaskedAutoencoder, sample: dict, name: str) -> Reconstruction:
    """Predict the removed patches of an image.

    Args:
        model: in evaluation mode.
        sample: packed sample with a mask.
        name: see ``Reconstruction``.

    Raises:
        UserError: the mask does not fit the image or the model.
    """
    batch = model.data_preprocessor(default_collate([sample]), False)
    inputs = batch['inputs']
    visible = model.visible_patches(inputs, batch['data_samples'])
    restored = pixels_of(model.restore(inputs, visible), model.data_preprocessor)[0].cpu()
    return Reconstruction(name, side_by_side(sample['inputs'], visible.masked[0].cpu(), restored))


def pixels_of(images: Tensor, preprocessor: nn.Module) -> Tensor:
    """Undo a ``ClsDataPreprocessor``: return images (N, C, H, W) with pixel values, as samples hold them."""
    if hasattr(preprocessor, 'mean'):
        images = images * preprocessor.std + preprocessor.mean
    return images.flip(1) if preprocessor.to_rgb and images.shape[1] == 3 else images


def side_by_side(original: Tensor, masked: Tensor, restored: Tensor) -> list[np.ndarray]:
    """Return what is to be seen of an image, a mask (rows, columns) and a prediction, see ``Reconstruction``.

    Args:
        original, restored: (C, H, W) with pixel values, as of a sample.
        masked: True for removed patches.
    """
    dtype, original = original.dtype, original.float()
    low, high = (0, 255) if dtype == torch.uint8 else original.aminmax()
    patch = original.shape[2] // masked.shape[1]
    removed = masked.repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    gray = torch.full_like(original, (float(low) + float(high)) / 2)
    restored = restored.clamp(low, high).round() if dtype == torch.uint8 else restored.clamp(low, high)
    pictures = [original, gray.where(removed, original), restored.where(removed, original)]
    # Together, so that other ranges of values are stretched alike.
    pixels = torch.cat(pictures, 2).movedim(0, -1)
    shown = displayed((pixels.byte() if dtype == torch.uint8 else pixels).numpy())
    return np.split(shown, len(pictures), axis=1)


def save_reconstructions(rows: Sequence[Reconstruction], file: str | Path) -> None:
    """Write a PNG file with a row for each image: original, masked image and reconstruction."""
    font = ImageFont.truetype(FONT, 15)
    strips = [[fit_to_look_at(picture, SIDE) for picture in row.pictures] for row in rows]
    column = max(strip[0].width for strip in strips) + MARGIN
    height = ROW + sum(strip[0].height + ROW for strip in strips)
    picture = Image.new('RGB', (len(TITLES) * column + MARGIN, height + MARGIN), 'white')
    draw = ImageDraw.Draw(picture)
    for number, title in enumerate(TITLES):
        draw.text((MARGIN + number * column, ROW // 2), title, OTHER, font, anchor='lm')
    top = ROW
    for row, strip in zip(rows, strips, strict=True):
        for number, image in enumerate(strip):
            picture.paste(image, (MARGIN + number * column, top))
        top += strip[0].height + ROW
        name = elide(row.name, picture.width - 2 * MARGIN, font)
        draw.text((MARGIN, top - ROW // 2), name, OTHER, font, anchor='lm')
    with written_whole(Path(file)) as part:
        picture.save(part, 'PNG')
