"""Image transforms that mmpretrain lacks."""

import math

import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from ..errors import UserError
from ..files import open_regular
from ..images.reader import MAX_PIXELS, ImageError, ImageReader
from ..registry import TRANSFORMS
from .augmentation import RandomResizedCrop


@TRANSFORMS.register_module()
class FloorCenterCrop(BaseTransform):
    """Center crop whose top and left margins are rounded down, as in transformers.

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


# LoadImageFromFile in configs resolves to this class, so that training and inference read images alike.
# mmpretrain also registers mmcv's class in its own scope.
@MMPRETRAIN_TRANSFORMS.register_module(name='LoadImageFromFile', force=True)
@ROOT_TRANSFORMS.register_module(name='LoadImageFromFile', force=True)
@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Read an image with the rules of ``ImageReader``; replaces mmcv's ``LoadImageFromFile``.

    Reads ``img_path``, or ``img_bytes`` of a shard; sets ``img``, ``img_shape`` and ``ori_shape``.

    Args:
        to_float32: whether to convert pixels to float32.
        color_type: see ``ImageReader``.
        full_scale: see ``ImageReader``.
        max_pixels: see ``ImageReader``.
        **kwargs: arguments of ``LoadImageFromFile``; ``imdecode_backend`` has no effect.
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
        except Exception as error:  # mmengine's backends raise errors of their clients
            if self.ignore_empty:
                return None
            if isinstance(error, ImageError):
                raise ImageError(f'failed to load image: {results["img_path"]}: {error}') from error
            if isinstance(error, UserError):  # the file needs another setting of the loader
                raise UserError(f'{results["img_path"]} {error}') from error
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        shape = image.shape[:2]
        return {**results, 'img': image, 'img_shape': shape, 'ori_shape': shape}

    def read(self, path: str) -> bytes:
        """Return the content of a file, or of a path in a backend of mmengine."""
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
    """``LoadImage`` for a ``RandomResizedCrop``: large JPEG files are decoded at a lower resolution.

    The decoder can halve an image up to three times, which is faster. It does so as long as the smallest
    possible crop has enough pixels. Crops have the same areas and aspect ratios as in the full image.

    Args:
        scale: ``scale`` of the crop.
        crop_ratio_range: ``crop_ratio_range`` of the crop.
        **kwargs: arguments of ``LoadImage``.
    """

    # Decoding smaller files is as fast as reading their header.
    MIN_BYTES = 300_000

    def __init__(self, scale: int, crop_ratio_range: tuple[float, float], **kwargs):
        super().__init__(**kwargs)
        self.scale, self.least_area = scale, crop_ratio_range[0]
        # Short side of the smallest box, relative to the geometric mean of an image's sides.
        self.smallest = math.sqrt(crop_ratio_range[0] * RandomResizedCrop.ASPECTS[0])

    def transform(self, results: dict) -> dict | None:
        results = super().transform(results)
        return results and {**results, 'decoded_for': (self.scale, self.least_area)}

    def decode(self, encoded: bytes) -> np.ndarray:
        large = len(encoded) >= self.MIN_BYTES
        return self.reader.from_bytes(encoded, self.reduction if large else None)

    def reduction(self, size: tuple[int, int]) -> int:
        """Return the factor by which the sides of an image may be divided."""
        box = min(self.smallest * math.sqrt(math.prod(size)), *size)
        return next((factor for factor in (8, 4, 2) if box >= factor * self.scale), 1)
