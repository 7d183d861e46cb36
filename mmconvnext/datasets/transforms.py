"""Image transforms that mmpretrain lacks."""

import math

import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from ..files import open_regular
from ..images.reader import MAX_PIXELS, ImageError, ImageReader
from ..registry import TRANSFORMS
from .augmentation import RandomResizedCrop


@TRANSFORMS.register_module()
class FloorCenterCrop(BaseTransform):
    """Central box whose margins above and to the left are rounded down, as transformers crops.

    Args:
        crop_size: side of a square in pixels, or (width, height).
    """

    def __init__(self, crop_size: int | tuple[int, int]):
        self.width, self.height = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size

    def transform(self, results: dict) -> dict:
        image = results['img']
        top, left = (image.shape[0] - self.height) // 2, (image.shape[1] - self.width) // 2
        results['img'] = image[top : top + self.height, left : left + self.width]
        results['img_shape'] = results['img'].shape[:2]
        return results


# Users' configs say LoadImageFromFile and get this one, so that training reads pictures as inference does.
# mmpretrain registers mmcv's under its own scope too.
@MMPRETRAIN_TRANSFORMS.register_module(name='LoadImageFromFile', force=True)
@ROOT_TRANSFORMS.register_module(name='LoadImageFromFile', force=True)
@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Read a picture by the rule of ``ImageReader``, in the place of mmcv's ``LoadImageFromFile``.

    Needs ``img_path``, or ``img_bytes`` of a shard; gives ``img``, ``img_shape`` and ``ori_shape``.

    Args:
        to_float32: convert the pixels to float32.
        color_type: see ``ImageReader``.
        full_scale: see ``ImageReader``.
        max_pixels: see ``ImageReader``.
        **kwargs: of ``LoadImageFromFile``; ``imdecode_backend`` has no effect.
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        *args,
        full_scale: float | None = None,
        max_pixels: int = MAX_PIXELS,
        **kwargs,
    ):
        super().__init__(to_float32, color_type, *args, **kwargs)
        self.reader = ImageReader(color_type, full_scale, max_pixels)

    def transform(self, results: dict) -> dict | None:
        results = dict(results)
        try:
            encoded = results.pop('img_bytes', None) or self.read(results['img_path'])
            image = self.decode(encoded)
        except Exception as error:  # backends of mmengine raise errors of their clients
            if self.ignore_empty:
                return None
            if isinstance(error, ImageError):
                raise ImageError(f'failed to load image: {results["img_path"]}: {error}') from error
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        shape = image.shape[:2]
        return {**results, 'img': image, 'img_shape': shape, 'ori_shape': shape}

    def read(self, path: str) -> bytes:
        """Return the content of a file, or of what a backend of mmengine names so."""
        if self.backend_args is None and self.file_client_args is None and '://' not in str(path):
            with open_regular(path) as file:
                return file.read()
        if self.file_client_args is not None:
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        return fileio.get(path, backend_args=self.backend_args)

    def decode(self, encoded: bytes) -> np.ndarray:
        return self.reader.from_bytes(encoded)


@TRANSFORMS.register_module()
class LoadImageForCrop(LoadImage):
    """``LoadImage`` for a ``RandomResizedCrop``: a large JPEG file is decoded smaller.

    The decoder halves an image up to three times for a part of the work, and does so here as long as the
    smallest box that can be cropped has enough pixels. Boxes have the same areas and shapes as in the whole
    image.

    Args:
        scale: of the crop.
        crop_ratio_range: of the crop.
        **kwargs: of ``LoadImage``.
    """

    # Smaller files are decoded as fast as they are looked at.
    MIN_BYTES = 300_000

    def __init__(self, scale: int, crop_ratio_range: tuple[float, float], **kwargs):
        super().__init__(**kwargs)
        self.scale, self.least_area = scale, crop_ratio_range[0]
        # The short side of the smallest box, for each pixel of an image's geometric mean side.
        self.smallest = math.sqrt(crop_ratio_range[0] * RandomResizedCrop.ASPECTS[0])

    def transform(self, results: dict) -> dict | None:
        results = super().transform(results)
        return results and {**results, 'decoded_for': (self.scale, self.least_area)}

    def decode(self, encoded: bytes) -> np.ndarray:
        large = len(encoded) >= self.MIN_BYTES
        return self.reader.from_bytes(encoded, self.reduction if large else None)

    def reduction(self, size: tuple[int, int]) -> int:
        """Return by what the sides of an image may be divided."""
        box = min(self.smallest * math.sqrt(math.prod(size)), *size)
        return next((factor for factor in (8, 4, 2) if box >= factor * self.scale), 1)
