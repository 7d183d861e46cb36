from .digits import Digits
from .image_folder import ImageFolder
from .preprocessing import Preprocessing
from .synthetic import Synthetic
from .transforms import FloorCenterCrop

__all__ = ['Digits', 'FloorCenterCrop', 'ImageFolder', 'Preprocessing', 'Synthetic']
