"""Augmentation in two steps: draw random numbers for an image, then apply them to it or to a whole batch.

Dataloader workers take both steps, or only the first; then a batch is augmented on the device of the network,
see ``AugmentingDataPreprocessor``. The random numbers are the same.
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
    """A transform whose random draws depend only on the size of an image. Reads and replaces ``img``."""

    def transform(self, results: dict) -> dict:
        drawn = self.draw(results)
        results['img'] = self.apply(results['img'], drawn)
        return results

    @abstractmethod
    def draw(self, results: dict) -> Any:
        """Draw all random numbers for one image, without changing ``img``."""

    @abstractmethod
    def apply(self, image: np.ndarray, drawn: Any) -> np.ndarray:
        """Return the augmented image, (H, W, 3) uint8 in BGR like the input."""

    @abstractmethod
    def apply_to_batch(self, images: Tensor, drawn: Sequence[Any]) -> None:
        """Augment images (N, 3, H, W), uint8 in BGR, in place with the draws for each."""


@TRANSFORMS.register_module()
class DrawAugmentation(BaseTransform):
    """Store the draws of several transforms as ``augmentation``, without changing the image.

    Args:
        steps: configs of ``DrawnTransform``s, in order.
    """

    def __init__(self, steps: list[dict]):
        self.steps = [TRANSFORMS.build(step) for step in steps]

    def transform(self, results: dict) -> dict:
        results['augmentation'] = [step.draw(results) for step in self.steps]
        return results


def sent(numbers: Sequence, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Create a small tensor on a device without waiting for the work queued on it."""
    return torch.tensor(numbers, dtype=dtype).to(device, non_blocking=True)
