from .loading import load_checkpoint, use_safe_loading
from .matching import check_fit, weights_of

__all__ = ['check_fit', 'load_checkpoint', 'use_safe_loading', 'weights_of']
