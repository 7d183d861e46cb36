from .batches import ReplayableBatches
from .digits import Digits
from .preprocessing import Preprocessing
from .synthetic import Synthetic
from .transforms import FloorCenterCrop

__all__ = ['Digits', 'FloorCenterCrop', 'Preprocessing', 'ReplayableBatches', 'Synthetic']
