"""Export classifiers to files for other runtimes."""

from .. import _quiet_models  # noqa: F401, before all that imports mmpretrain.models
from .exporting import export

__all__ = ['export']
