from .convnext import ARCHS, ConvNeXt
from .linear_head import LinearClsHead

__all__ = ['ARCHS', 'ConvNeXt', 'LinearClsHead']
