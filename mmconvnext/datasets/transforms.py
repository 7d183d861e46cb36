"""Image transforms that mmpretrain lacks."""

import math
from io import BytesIO

import cv2
from mmcv import imfrombytes
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.fileio import get
from PIL import Image

from ..registry import TRANSFORMS
from .augmentation import RandomResizedCrop


@TRANSFORMS.register_module()
class FloorCenterCrop(BaseTransform):
    """Central square whose margins above and to the left are rounded down, as transformers crops.

    Args:
        crop_size: side of the square in pixels.
    """

    def __init__(self, crop_size: int):
        self.crop_size = crop_size

    def transform(self, results: dict) -> dict:
        image, side = results['img'], self.crop_size
        top, left = ((extent - side) // 2 for extent in image.shape[:2])
        results['img'] = image[top : top + side, left : left + side]
        results['img_shape'] = results['img'].shape[:2]
        return results


class LoadImageFromBytes(LoadImageFromFile):
    """What ``LoadImageFromFile`` makes of a file, from ``img_bytes``; ``img_path`` is for messages."""

    def transform(self, results: dict) -> dict:
        image = imfrombytes(results.pop('img_bytes'), flag=self.color_type, backend=self.imdecode_backend)
        # As mmcv says it: cv2 returns nothing for what it cannot decode.
        assert image is not None, f'failed to load image: {results["img_path"]}'
        if self.to_float32:
            image = image.astype('float32')
        shape = image.shape[:2]
        return {**results, 'img': image, 'img_shape': shape, 'ori_shape': shape}


@TRANSFORMS.register_module()
class LoadImageForCrop(LoadImageFromFile):
    """``LoadImageFromFile`` for a ``RandomResizedCrop``: a large JPEG file is decoded smaller.

    The decoder halves an image up to three times for a part of the work, and does so here as long as the
    smallest box that can be cropped has enough pixels. Boxes have the same areas and shapes as in the whole
    image.

    Args:
        scale: of the crop.
        crop_ratio_range: of the crop.
    """

    # Smaller files are decoded as fast as they are looked at.
    FEWEST_BYTES = 300_000
    REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}

    def __init__(self, scale: int, crop_ratio_range: tuple[float, float]):
        super().__init__()
        self.scale, self.least_area = scale, crop_ratio_range[0]
        # The short side of the smallest box, for each pixel of an image's geometric mean side.
        self.smallest = math.sqrt(crop_ratio_range[0] * RandomResizedCrop.ASPECTS[0])

    def transform(self, results: dict) -> dict:
        results = dict(results)
        encoded = results.pop('img_bytes', None) or get(results['img_path'])  # of a shard, or of a file
        image = imfrombytes(encoded, flag=self.flag(encoded))
        # As mmcv says it: cv2 returns nothing for what it cannot decode.
        assert image is not None, f'failed to load image: {results["img_path"]}'
        shape = image.shape[:2]
        decoded_for = self.scale, self.least_area
        return {**results, 'img': image, 'img_shape': shape, 'ori_shape': shape, 'decoded_for': decoded_for}

    def flag(self, encoded: bytes) -> int | str:
        """How cv2 is to decode this file."""
        if len(encoded) >= self.FEWEST_BYTES and encoded.startswith(b'\xff\xd8'):  # JPEG
            try:
                with Image.open(BytesIO(encoded)) as header:
                    box = min(self.smallest * math.sqrt(math.prod(header.size)), *header.size)
            except (OSError, Image.DecompressionBombError):
                return 'color'  # cv2 will say what is wrong
            for factor, flag in self.REDUCED.items():
                if box >= factor * self.scale:
                    return flag
        return 'color'
