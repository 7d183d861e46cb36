from .. import _quiet  # noqa: F401, before all that imports mmpretrain
from .batches import ReplayableBatches
from .digits import Digits
from .image_folder import ImageFolder
from .preprocessing import Preprocessing
from .shards import Shards
from .synthetic import Synthetic
from .transforms import FloorCenterCrop

__all__ = [
    'Digits',
    'FloorCenterCrop',
    'ImageFolder',
    'Preprocessing',
    'ReplayableBatches',
    'Shards',
    'Synthetic',
]
