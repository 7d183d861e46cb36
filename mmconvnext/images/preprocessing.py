"""Preprocessing of images for a set of weights."""

from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..registry import default_scope
from .reader import ImageReader

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOR_TYPES = {'rgb': 'color', 'bgr': 'color', 'gray': 'grayscale', 'unchanged': 'unchanged'}
OPENCV_NAMES = {'box': 'area', 'hamming': 'bilinear'}


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing with which a checkpoint was evaluated.

    Attributes:
        size: side, or (height, width), of the network's input in pixels.
        resize: length of the short side after resizing, before the center crop; None: the whole image is
            resized to ``size``.
        interpolation: nearest, bilinear, bicubic, box, lanczos or hamming; area with cv2.
        mean: mean of each channel, in units of ``full_scale``.
        std: standard deviation of each channel, like ``mean``.
        crop: ``round`` or ``floor``: how the crop offset is rounded if the margins are odd. torchvision, timm
            and mmpretrain use ``round``, transformers uses ``floor``.
        color: ``rgb`` or ``bgr`` (gray is repeated, alpha is dropped), ``gray`` (one channel) or
            ``unchanged`` (the channels of the file).
        full_scale: pixel value of white, which is scaled to 1; 65535 for 16-bit images with full depth. None:
            the values of each file are kept, and ``mean`` and ``std`` are in pixel values.
        to_float32: whether pixels are converted before resizing, which avoids rounding.
        backend: library for resizing, ``pillow`` or ``cv2``; their results differ.
    """

    size: int | tuple[int, int] = 224
    resize: int | None = 256
    interpolation: str = 'bicubic'
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop: str = 'round'
    color: str = 'rgb'
    full_scale: float | None = 255.0
    to_float32: bool = False
    backend: str = 'pillow'

    @property
    def channels(self) -> int:
        return len(self.mean)

    def for_channels(self, channels: int) -> 'Preprocessing':
        """Return this RGB preprocessing for another number of channels.

        One channel gets the average mean and std of RGB; several channels repeat those of RGB.
        """
        if channels == self.channels:
            return self
        mean, std = (
            (sum(values) / len(values),) if channels == 1 else tuple(islice(cycle(values), channels))
            for values in (self.mean, self.std)
        )
        return replace(self, mean=mean, std=std, color='gray' if channels == 1 else 'unchanged')

    @property
    def unit(self) -> float:
        """Pixel value that is scaled to 1."""
        return 1.0 if self.full_scale is None else self.full_scale

    def loader(self) -> dict:
        """Return the config of the transform that reads a file."""
        loader, color_type = dict(type='LoadImageFromFile'), COLOR_TYPES[self.color]
        if color_type != 'color':
            loader['color_type'] = color_type
        if self.full_scale != (None if color_type == 'unchanged' else 255):
            loader['full_scale'] = self.full_scale
        if self.to_float32:
            loader['to_float32'] = True
        return loader

    def pipeline(self) -> list[dict]:
        """Return the configs of the transforms between loading and packing."""
        how = dict(backend=self.backend, interpolation=self.interpolation)
        # Pillow only resizes 8-bit images.
        if self.full_scale != 255 or self.to_float32 or self.channels not in (1, 3, 4):
            how = dict(backend='cv2', interpolation=OPENCV_NAMES.get(self.interpolation, self.interpolation))
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        if self.resize is None:
            return [dict(type='Resize', scale=(width, height), **how)]
        resize = dict(type='ResizeEdge', scale=self.resize, edge='short', **how)
        crop_size = width if width == height else (width, height)
        if self.crop == 'floor':
            return [resize, dict(type='mmconvnext.FloorCenterCrop', crop_size=crop_size)]
        return [resize, dict(type='CenterCrop', crop_size=crop_size)]

    def data_preprocessor(self) -> dict:
        """Return the config of the data preprocessor, which normalizes images as a part of the model."""
        mean, std = ([self.unit * value for value in values] for values in (self.mean, self.std))
        return dict(mean=mean, std=std, to_rgb=self.channels == 3 and self.color != 'bgr')

    def __call__(self, image: Image.Image | np.ndarray) -> Tensor:
        """Preprocess an image exactly as the test pipeline does.

        Args:
            image: PIL image, or array (H, W) or (H, W, channels), RGB if there are three.

        Returns:
            Tensor: normalized image (channels, height, width).
        """
        reader = ImageReader(COLOR_TYPES[self.color], self.full_scale)
        pixels = reader.from_pil(image) if isinstance(image, Image.Image) else reader.from_array(image)
        pixels = pixels.astype(np.float32) if self.to_float32 else pixels
        with default_scope('mmpretrain'):
            transforms = Compose([TRANSFORMS.build(step) for step in self.pipeline()])
        resized = transforms(dict(img=pixels, img_shape=pixels.shape[:2]))['img']
        if resized.ndim == 2:
            resized = resized[..., None]
        if resized.shape[2] != self.channels:
            raise UserError(
                f'the image has {resized.shape[2]} channels, but mean and std have {self.channels}; pass an '
                "image with as many, or choose color='rgb' or color='gray'"
            )
        if self.channels == 3 and self.color != 'bgr':
            resized = resized[..., ::-1]  # BGR
        channels = torch.from_numpy(np.ascontiguousarray(resized, np.float32)).movedim(-1, 0) / self.unit
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (channels - mean) / std
