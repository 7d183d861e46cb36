"""Image transforms that mmpretrain lacks."""

from mmcv.transforms import BaseTransform

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
