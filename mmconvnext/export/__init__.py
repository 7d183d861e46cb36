"""Export classifiers to files for other runtimes."""

from .exporting import export

__all__ = ['export']
