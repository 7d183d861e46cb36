from .. import _quiet  # noqa: F401, before all that imports mmpretrain
from ..images.preprocessing import Preprocessing
from .augmentation import PackInputs, RandomErasing, RandomFlip, RandomResizedCrop
from .batches import ReplayableBatches
from .digits import Digits
from .drawn import DrawAugmentation
from .image_folder import ImageFolder
from .masks import MaskPatches
from .rand_augment import RandAugment
from .shards import Shards
from .synthetic import Synthetic
from .transforms import FloorCenterCrop, LoadImage, LoadImageForCrop
from .unlabeled import UnlabeledImages

__all__ = [
    'Digits',
    'DrawAugmentation',
    'FloorCenterCrop',
    'ImageFolder',
    'LoadImage',
    'LoadImageForCrop',
    'MaskPatches',
    'PackInputs',
    'Preprocessing',
    'RandAugment',
    'RandomErasing',
    'RandomFlip',
    'RandomResizedCrop',
    'ReplayableBatches',
    'Shards',
    'Synthetic',
    'UnlabeledImages',
]
