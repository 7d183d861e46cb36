from .converting import convert
from .downloading import fetch
from .formats import FORMATS
from .loading import load_checkpoint
from .matching import check_fit, head_changes, weights_of
from .mmengine_loader import use_safe_loading
from .reading import load_weights

__all__ = [
    'FORMATS',
    'check_fit',
    'convert',
    'fetch',
    'head_changes',
    'load_checkpoint',
    'load_weights',
    'use_safe_loading',
    'weights_of',
]
