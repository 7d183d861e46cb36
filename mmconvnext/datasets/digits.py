"""The handwritten digits of scikit-learn: real images without a download."""

import numpy as np
from mmpretrain.datasets import BaseDataset

from ..errors import UserError
from ..registry import DATASETS

HELD_OUT_PER_CLASS = 36


@DATASETS.register_module()
class Digits(BaseDataset):
    """1,797 images of 8 x 8 pixels in ten classes (UCI "Optical Recognition of Handwritten Digits").

    The test split has 36 images of every class, evenly spaced in the order of the file: 360 in total, always
    the same. Samples contain ``img``, so a pipeline does not load images.

    Args:
        split: ``train`` (1,437 images) or ``test`` (360 images).
        **kwargs: arguments of mmpretrain's ``BaseDataset``.
    """

    METAINFO = dict(classes=tuple(str(digit) for digit in range(10)))

    def __init__(self, split: str, **kwargs):
        if split not in ('train', 'test'):
            raise UserError(f'Digits has no split {split!r}; choose train or test')
        self.split = split
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        from sklearn.datasets import load_digits  # takes a second

        images, labels = load_digits(return_X_y=True)
        held_out = np.zeros(len(labels), dtype=bool)
        for digit in range(10):
            members = np.flatnonzero(labels == digit)
            held_out[members[np.linspace(0, len(members) - 1, HELD_OUT_PER_CLASS).round().astype(int)]] = True
        chosen = np.flatnonzero(held_out if self.split == 'test' else ~held_out)
        images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)  # 0..16 -> 0..255
        return [
            dict(
                img=images[i].repeat(3, axis=-1),
                gt_label=int(labels[i]),
                img_shape=(8, 8),
                ori_shape=(8, 8),
            )
            for i in chosen
        ]
