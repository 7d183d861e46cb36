"""The augmentation of the official recipe except RandAugment, with few passes over the pixels.

Where mmpretrain and timm differ, these follow timm, which the official code uses. All draw from the
generators that ``replay.seed_draws`` sets. Images are (H, W, 3) in BGR until the data preprocessor converts
them, or (H, W) or (H, W, C), with dtype uint8, uint16 or float32; RandAugment takes uint8 with one or three
channels.
"""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.datasets import transforms as upstream
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..registry import TRANSFORMS
from .drawn import DrawnTransform, sent

ATTEMPTS = 10  # of timm, at a box that fits


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a box of random area and aspect ratio, and resize it to a square with a bicubic filter.

    Reads and replaces ``img``, and sets ``img_shape``. Boxes are drawn as by timm's
    ``RandomResizedCropAndInterpolation``. torch's vectorized filter for uint8 takes a quarter of the time of
    Pillow's and differs from it by at most one gray level (two if it enlarges).

    Args:
        scale: side of the square in pixels.
        crop_ratio_range: minimum and maximum area of the box, as fractions of the image.

    Raises:
        UserError: ``LoadImageForCrop`` decoded the image at a lower resolution than this crop needs.
    """

    ASPECTS = 3 / 4, 4 / 3

    def __init__(self, scale: int, crop_ratio_range: tuple[float, float] = (0.08, 1.0)):
        self.scale, self.crop_ratio_range = scale, crop_ratio_range

    def transform(self, results: dict) -> dict:
        image = results['img']
        scale, least = results.pop('decoded_for', (self.scale, self.crop_ratio_range[0]))
        if self.scale > scale or self.crop_ratio_range[0] < least:
            raise UserError(
                f'images are decoded for crops of at least {least:.0%} of their area to {scale} px, not of '
                f'{self.crop_ratio_range[0]:.0%} to {self.scale} px; give LoadImageForCrop and '
                'RandomResizedCrop of the pipeline the same settings'
            )
        top, left, height, width = self.draw_box(*image.shape[:2])
        # Contiguous (1, 3, H, W) in channels_last: only then the result is contiguous, too.
        box = np.ascontiguousarray(image[top : top + height, left : left + width])
        resized = self.resize(box.reshape(*box.shape[:2], -1))
        results['img'] = resized.reshape(*resized.shape[:2], *image.shape[2:])
        results['img_shape'] = (self.scale, self.scale)
        return results

    def resize(self, box: np.ndarray) -> np.ndarray:
        """Resize a crop (height, width, C) to (scale, scale, C)."""
        whole = box.dtype.kind in 'iu' and box.dtype != np.uint8  # types that torch cannot resize
        pixels = torch.from_numpy(box.astype(np.float32) if whole else box)[None].permute(0, 3, 1, 2)
        resized = F.interpolate(pixels, (self.scale, self.scale), mode='bicubic', antialias=True)
        resized = resized.permute(0, 2, 3, 1)[0].numpy()
        if whole:
            limits = np.iinfo(box.dtype)
            resized = resized.round().clip(limits.min, limits.max).astype(box.dtype)
        return resized

    def draw_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw top, left, height and width of a box in an image of this size."""
        for _ in range(ATTEMPTS):
            area = random.uniform(*self.crop_ratio_range) * height * width
            aspect = math.exp(random.uniform(*map(math.log, self.ASPECTS)))
            box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < box_width <= width and 0 < box_height <= height:
                top = random.randint(0, height - box_height)
                return top, random.randint(0, width - box_width), box_height, box_width
        # The largest centered box with an allowed aspect ratio.
        box_height = min(height, round(width / self.ASPECTS[0]))
        box_width = min(width, round(height * self.ASPECTS[1]))
        return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


@TRANSFORMS.register_module()
class RandomFlip(DrawnTransform):
    """Flip images horizontally.

    Reads and replaces ``img``; sets ``flip`` and ``flip_direction``. mmcv's transform returns a view, which
    slows down all following steps.

    Args:
        prob: probability of a flip.
    """

    def __init__(self, prob: float = 0.5):
        self.prob = prob

    def draw(self, results: dict) -> bool:
        results['flip'] = random.random() < self.prob
        results['flip_direction'] = 'horizontal' if results['flip'] else None
        return results['flip']

    def apply(self, image: np.ndarray, drawn: bool) -> np.ndarray:
        return cv2.flip(image, 1).reshape(image.shape) if drawn else image

    def apply_to_batch(self, images: Tensor, drawn: Sequence[bool]) -> None:
        flipped = sent([place for place, flip in enumerate(drawn) if flip], images.device, torch.long)
        images.index_copy_(0, flipped, images.index_select(0, flipped).flip(3))


class Erased(NamedTuple):
    """A box in pixels, and the seed of its noise."""

    top: int
    left: int
    height: int
    width: int
    seed: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)


@TRANSFORMS.register_module()
class RandomErasing(DrawnTransform):
    """Replace a box of random area and aspect ratio by noise around the mean.

    Equals timm's mode ``pixel``, which erases after normalization with noise of mean 0 and std 1, except that
    the 3 % of the noise beyond black and white is clipped. Unlike in mmpretrain, boxes can touch the bottom
    and the right side, and noise is rounded instead of truncated. Reads and replaces ``img``.

    Args:
        mean: mean of the noise per channel (BGR), in pixel values.
        std: standard deviation of the noise per channel (BGR), in pixel values.
    """

    PROBABILITY = 0.25
    AREAS = 0.02, 1 / 3  # as fractions of the image
    ASPECTS = 0.3, 1 / 0.3

    def __init__(self, mean: list[float], std: list[float]):
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)

    def draw(self, results: dict) -> Erased | None:
        channels = results['img'].shape[2] if results['img'].ndim == 3 else 1
        if channels != len(self.mean):
            raise UserError(
                f'RandomErasing has a mean of {len(self.mean)} channels for an image of {channels}; give it '
                'mean and std with one value per channel'
            )
        if random.random() >= self.PROBABILITY:
            return None
        box = self.draw_box(*results['img'].shape[:2])
        return box and Erased(*box, seed=int(torch.randint(1 << 62, ())))

    def apply(self, image: np.ndarray, drawn: Erased | None) -> np.ndarray:
        if drawn is None:
            return image
        image = image.copy()
        limits = None if image.dtype.kind == 'f' else np.iinfo(image.dtype)
        noise = self.noise(drawn, torch.device('cpu'), self.mean, self.std, limits)
        image[drawn.rows, drawn.columns] = noise.reshape(*noise.shape[:2], *image.shape[2:]).numpy()
        return image

    def apply_to_batch(self, images: Tensor, drawn: Sequence[Erased | None]) -> None:
        device = images.device
        mean, std = (numbers.to(device, non_blocking=True) for numbers in (self.mean, self.std))
        limits = None if images.is_floating_point() else torch.iinfo(images.dtype)
        for image, erased in zip(images, drawn, strict=True):
            if erased is not None:
                noise = self.noise(erased, device, mean, std, limits)
                image[:, erased.rows, erased.columns] = noise.permute(2, 0, 1)

    @staticmethod
    def noise(
        erased: Erased, device: torch.device, mean: Tensor, std: Tensor, limits: np.iinfo | torch.iinfo | None
    ) -> Tensor:
        """Return noise (height, width, C) float32 of integers in the valid range; GPUs and CPUs differ."""
        generator = torch.Generator(device).manual_seed(erased.seed)
        noise = torch.randn(erased.height, erased.width, len(mean), generator=generator, device=device)
        noise = noise.mul_(std).add_(mean)
        return noise if limits is None else noise.round_().clamp_(limits.min, limits.max)

    def draw_box(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Draw top, left, height and width of a box in an image of this size; None if no box fits."""
        for _ in range(ATTEMPTS):
            area = random.uniform(*self.AREAS) * height * width
            aspect = math.exp(random.uniform(*map(math.log, self.ASPECTS)))
            box_height, box_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if box_width < width and box_height < height:
                top = random.randint(0, height - box_height)
                return top, random.randint(0, width - box_width), box_height, box_width
        return None


@TRANSFORMS.register_module()
class PackInputs(upstream.PackInputs):
    """mmpretrain's ``PackInputs``, but seven times as fast in separating the channels of an image.

    Integer types other than uint8 are converted to float32, which every normalization accepts.
    """

    @staticmethod
    def format_input(image: np.ndarray) -> Tensor:
        """Convert an image (H, W, C) to a tensor (C, H, W)."""
        if isinstance(image, np.ndarray) and image.dtype.kind in 'iu' and image.dtype != np.uint8:
            image = image.astype(np.float32)
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] == 1:
            return upstream.PackInputs.format_input(image)
        height, width, channels = image.shape
        planes = np.empty((channels, height, width), image.dtype)
        cv2.split(image, list(planes))  # into them
        return torch.from_numpy(planes)
