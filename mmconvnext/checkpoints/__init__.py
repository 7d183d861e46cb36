from .downloading import fetch
from .formats import FORMATS
from .loading import load_checkpoint
from .reading import read_weights, weights_of

__all__ = ['FORMATS', 'fetch', 'load_checkpoint', 'read_weights', 'weights_of']
