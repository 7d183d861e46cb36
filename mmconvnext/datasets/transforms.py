"""Image transforms that mmpretrain lacks."""

from mmcv import imfrombytes
from mmcv.transforms import BaseTransform, LoadImageFromFile

from ..registry import TRANSFORMS


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
