"""Masks of patches for masked pre-training."""

import numpy as np
from mmcv.transforms import BaseTransform

from ..errors import UserError
from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class MaskPatches(BaseTransform):
    """Draw which patches of an image are removed, as ``mask``: (rows, columns) of bool, True for removed.

    Every image of a size gets the same number of visible patches: their part of all, rounded down, which is
    ``int(49 * 0.4) = 19`` for 224 pixels in the official code of FCMAE. The draw depends on the sample alone,
    like all augmentation, so neither interruptions nor the number of GPUs change it.

    Args:
        patch_size: side of the square patches in pixels.
        mask_ratio: part of the patches to remove, above 0 and below 1.
        nearest: whether to round the number of visible patches to the nearest one (SparK: 20 of 49).

    Raises:
        UserError: the ratio is out of range or leaves no patch, or the patches do not fit an image.
    """

    def __init__(self, patch_size: int = 32, mask_ratio: float = 0.6, nearest: bool = False):
        if not isinstance(mask_ratio, (int, float)) or not 0 < mask_ratio < 1:
            raise UserError(f'mask_ratio is {mask_ratio!r}; it should be above 0 and below 1, such as 0.6')
        if not isinstance(patch_size, int) or patch_size < 1:
            raise UserError(
                f'patch_size is {patch_size!r}; it should be a whole number of pixels, such as 32'
            )
        self.patch_size, self.mask_ratio, self.nearest = patch_size, mask_ratio, nearest

    def transform(self, results: dict) -> dict:
        height, width = results['img'].shape[:2]
        if height % self.patch_size or width % self.patch_size:
            raise UserError(
                f'patches of {self.patch_size} pixels do not fit an image of {height} x {width}: crop it to '
                f'multiples of {self.patch_size}, or set another patch_size'
            )
        grid = height // self.patch_size, width // self.patch_size
        total = grid[0] * grid[1]
        visible = total * (1 - self.mask_ratio)
        visible = round(visible) if self.nearest else int(visible)
        if not 0 < visible < total:
            raise UserError(
                f'a mask_ratio of {self.mask_ratio} leaves {visible} of {total} patches visible in '
                f'{height} x {width} pixels; choose smaller patches, larger images or another ratio'
            )
        mask = np.ones(total, bool)
        mask[np.random.permutation(total)[:visible]] = False
        results['mask'] = mask.reshape(grid)
        return results
