from .converting import convert, load_weights
from .downloading import fetch
from .formats import FORMATS
from .loading import load_checkpoint
from .matching import check_fit, weights_of
from .mmengine_loader import use_safe_loading

__all__ = [
    'FORMATS',
    'check_fit',
    'convert',
    'fetch',
    'load_checkpoint',
    'load_weights',
    'use_safe_loading',
    'weights_of',
]
