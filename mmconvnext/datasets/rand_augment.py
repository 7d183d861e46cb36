"""RandAugment: draw operations and their strength, and apply them."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..registry import TRANSFORMS
from . import batch_operations as on_batch
from . import image_operations as on_image
from .drawn import DrawnTransform, sent

# timm's rand_augment_transform with "-inc1": the strength of operations increases with the magnitude.
CHOSEN, PROBABILITY, FULL = 2, 0.5, 10
Drawn = tuple[int, float | None]  # index of an operation, and its argument if it has one
FILL = 104, 116, 124  # what lies outside of an image: ImageNet's mean in BGR, as timm rounds it


GREEN = 1  # channel to keep of a gray image, which is repeated for the operations


@dataclass(frozen=True)
class Operation:
    """One of timm's ``_RAND_INCREASING_TRANSFORMS``.

    Attributes:
        apply: function in ``image_operations``.
        argument: function from the strength (0 to 1, negated in half of the cases if ``signed``) to the
            argument; None: no argument.
        signed: whether the operation works in two directions.
        uncovers: whether the operation needs a fill color for pixels outside of the image.
    """

    apply: Callable[..., np.ndarray]
    argument: Callable[[float], float] | None = None
    signed: bool = False
    uncovers: bool = False

    @property
    def apply_to_batch(self) -> Callable[..., Tensor]:
        """Return the function of ``batch_operations`` with the same name."""
        return getattr(on_batch, self.apply.__name__)

    def settings(self, argument: float | Tensor | None) -> list:
        """Return the arguments of the operation other than the image."""
        return [*([] if self.argument is None else [argument]), *([FILL] if self.uncovers else [])]


def enhancing(apply: Callable) -> Operation:
    return Operation(apply, lambda strength: 1 + 0.9 * strength, signed=True)


def moving(apply: Callable, most: float) -> Operation:
    return Operation(apply, lambda strength: most * strength, signed=True, uncovers=True)


OPERATIONS = (
    Operation(on_image.auto_contrast),
    Operation(on_image.equalize),
    Operation(on_image.invert),
    moving(on_image.rotate, 30),
    Operation(on_image.posterize, lambda strength: 4 - int(4 * strength)),
    Operation(on_image.solarize, lambda strength: 256 - int(256 * strength)),
    Operation(on_image.solarize_add, lambda strength: int(110 * strength)),
    enhancing(on_image.color),
    enhancing(on_image.contrast),
    enhancing(on_image.brightness),
    enhancing(on_image.sharpness),
    moving(on_image.shear_x, 0.3),
    moving(on_image.shear_y, 0.3),
    moving(on_image.translate_x, 0.45),
    moving(on_image.translate_y, 0.45),
)


@TRANSFORMS.register_module()
class RandAugment(DrawnTransform):
    """Apply two of timm's operations, drawn with replacement, each with probability 0.5.

    Equals ``rand-m9-mstd0.5-inc1`` of the official recipe, but computes with integers and tables instead of
    floats. At magnitude 10, posterizing leaves no bits, so the image becomes black, as with older Pillow;
    with Pillow 13, timm raises an error. Draws from Python's ``random``.

    Reads and replaces ``img``: uint8 (H, W, 3) in BGR, (H, W) or (H, W, 1).

    Args:
        magnitude: mean strength of the operations, 0 to 10.
        magnitude_std: standard deviation of the strength.
    """

    def __init__(self, magnitude: float, magnitude_std: float):
        self.magnitude, self.magnitude_std = magnitude, magnitude_std

    def draw(self, results: dict) -> list[Drawn | None]:
        check_image(results['img'])
        numbers = random.choices(range(len(OPERATIONS)), k=CHOSEN)
        return [
            (number, self.draw_argument(OPERATIONS[number])) if random.random() < PROBABILITY else None
            for number in numbers
        ]

    def draw_argument(self, operation: Operation) -> float | None:
        if operation.argument is None:
            return None
        magnitude = random.gauss(self.magnitude, self.magnitude_std)
        strength = min(max(magnitude, 0), FULL) / FULL
        backward = operation.signed and random.random() < 0.5
        return operation.argument(-strength if backward else strength)

    def apply(self, image: np.ndarray, drawn: list[Drawn | None]) -> np.ndarray:
        gray = image.ndim == 2 or image.shape[2] == 1
        result = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if gray else image
        for number, argument in filter(None, drawn):
            operation = OPERATIONS[number]
            result = operation.apply(result, *operation.settings(argument))
        return np.ascontiguousarray(result[..., GREEN]).reshape(image.shape) if gray else result

    def apply_to_batch(self, images: Tensor, drawn: Sequence[list[Drawn | None]]) -> None:
        for turn in zip(*drawn, strict=True):
            chosen = defaultdict(list)  # by operation: images and their arguments
            for place, one in enumerate(turn):
                if one is not None:
                    number, argument = one
                    chosen[number].append((place, argument or 0))
            pairs = sent([pair for group in chosen.values() for pair in group], images.device, torch.float64)
            groups = pairs.view(-1, 2).split([len(group) for group in chosen.values()])
            for number, group in zip(chosen, groups, strict=True):
                operation = OPERATIONS[number]
                places, arguments = group[:, 0].long(), group[:, 1]
                before = images.index_select(0, places)
                gray = before.shape[1] == 1
                colored = before.expand(-1, 3, -1, -1).contiguous() if gray else before
                after = operation.apply_to_batch(colored, *operation.settings(arguments))
                images.index_copy_(0, places, after[:, GREEN : GREEN + 1] if gray else after)


def check_image(image: np.ndarray) -> None:
    """Raise UserError for images of the wrong type, whichever operation is drawn."""
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or channels not in (1, 3):
        raise UserError(
            f'RandAugment takes images of uint8 with 1 or 3 channels, and this one has {channels} of '
            f'{image.dtype}; leave RandAugment out of the training pipeline'
        )
