"""ConvNeXt for people who train and ship vision models: an OpenMMLab model-zoo plugin."""

from ._stack import check_stack
from .version import __version__

check_stack()

__all__ = ['__version__']
