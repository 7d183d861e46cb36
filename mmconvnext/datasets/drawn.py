"""Augmentation in two steps: what is drawn for an image, and what that does to it, alone or in a batch.

A worker of the dataloader takes both steps in turn, or the first alone: then the images of a batch are
augmented together where the network is, see ``AugmentingDataPreprocessor``. The draws are the same.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from ..registry import TRANSFORMS


class DrawnTransform(BaseTransform):
    """A transform that draws what it does from the size of an image alone. Needs and gives ``img``."""

    def transform(self, results: dict) -> dict:
        drawn = self.draw(results)
        results['img'] = self.apply(results['img'], drawn)
        return results

    @abstractmethod
    def draw(self, results: dict) -> Any:
        """Numbers for one image; all that is random. May note them in the results, but leaves ``img``."""

    @abstractmethod
    def apply(self, image: np.ndarray, drawn: Any) -> np.ndarray:
        """The augmented image, (H, W, 3) uint8 in BGR like the one given."""

    @abstractmethod
    def apply_to_batch(self, images: Tensor, drawn: Sequence[Any]) -> None:
        """Augment images (N, 3, H, W), uint8 in BGR, in place, each by what was drawn for it."""


@TRANSFORMS.register_module()
class DrawAugmentation(BaseTransform):
    """The draws of several transforms, as ``augmentation``; the image stays.

    Args:
        steps: configs of such transforms, in order.
    """

    def __init__(self, steps: list[dict]):
        self.steps = [TRANSFORMS.build(step) for step in steps]

    def transform(self, results: dict) -> dict:
        results['augmentation'] = [step.draw(results) for step in self.steps]
        return results


def sent(numbers: Sequence, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of a few numbers, without waiting until the device has done what it was told before."""
    return torch.tensor(numbers, dtype=dtype).to(device, non_blocking=True)
