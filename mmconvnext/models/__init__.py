from .archs import ARCHS
from .convnext import ConvNeXt
from .linear_head import LinearClsHead

__all__ = ['ARCHS', 'ConvNeXt', 'LinearClsHead']
