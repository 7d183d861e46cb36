"""Noise images, to try a config without data."""

import numpy as np
from mmpretrain.datasets import BaseDataset

from ..registry import DATASETS


@DATASETS.register_module()
class Synthetic(BaseDataset):
    """Noise images with cyclic labels; sample i is the same in every run.

    Args:
        num_classes: number of classes; labels cycle from 0 to ``num_classes - 1``.
        num_samples: length of the dataset.
        image_size: height and width in pixels.
        **kwargs: arguments of mmpretrain's ``BaseDataset``; the pipeline does not load images.
    """

    def __init__(
        self, num_classes: int, num_samples: int, image_size: tuple[int, int] = (320, 400), **kwargs
    ):
        self.num_classes, self.num_samples, self.image_size = num_classes, num_samples, tuple(image_size)
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        size = self.image_size
        return [
            dict(gt_label=i % self.num_classes, img_shape=size, ori_shape=size)
            for i in range(self.num_samples)
        ]

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        noise = np.random.default_rng(info['sample_idx'])
        info['img'] = noise.integers(0, 256, (*self.image_size, 3), dtype=np.uint8)
        return info
