"""From an image file to the numbers a set of weights expects."""

from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, DefaultScope
from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How images were prepared when a checkpoint was evaluated.

    Attributes:
        size: side of the network's input in pixels.
        resize: the short side is resized to this and the centre cropped; None: the whole image is
            warped to ``size`` x ``size``.
        interpolation: nearest, bilinear, bicubic, box, lanczos or hamming, by Pillow.
        mean: of the RGB channels, in 0 to 1.
        std: of the RGB channels, in 0 to 1.
        crop: ``round`` or ``floor``: where the crop begins when the margins are odd. torchvision,
            timm and mmpretrain round, transformers floors.
    """

    size: int = 224
    resize: int | None = 256
    interpolation: str = 'bicubic'
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop: str = 'round'

    def pipeline(self) -> list[dict]:
        """Config of the transforms behind loading and in front of packing."""
        how = dict(backend='pillow', interpolation=self.interpolation)
        if self.resize is None:
            return [dict(type='Resize', scale=(self.size, self.size), **how)]
        resize = dict(type='ResizeEdge', scale=self.resize, edge='short', **how)
        if self.crop == 'floor':
            return [resize, dict(type='mmconvnext.FloorCenterCrop', crop_size=self.size)]
        return [resize, dict(type='CenterCrop', crop_size=self.size)]

    def data_preprocessor(self) -> dict:
        """Config of the normalisation, which mmpretrain leaves to the model."""
        return dict(mean=[255 * m for m in self.mean], std=[255 * s for s in self.std], to_rgb=True)

    def __call__(self, image) -> Tensor:
        """A PIL image or an RGB array (H, W, 3) of uint8 -> (3, size, size), normalised."""
        pixels = np.asarray(image.convert('RGB') if hasattr(image, 'convert') else image)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            transforms = Compose([TRANSFORMS.build(step) for step in self.pipeline()])
        resized = transforms(dict(img=pixels, img_shape=pixels.shape[:2]))['img']
        channels = torch.from_numpy(np.ascontiguousarray(resized)).movedim(-1, 0) / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (channels - mean) / std
