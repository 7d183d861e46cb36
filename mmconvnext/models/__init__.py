from .. import _quiet_models  # noqa: F401, before all that imports mmpretrain.models
from .convnext import ConvNeXt
from .data_preprocessor import AugmentingDataPreprocessor
from .linear_head import LinearClsHead
from .network import ARCHS
from .outputs import outputs_of

__all__ = ['ARCHS', 'AugmentingDataPreprocessor', 'ConvNeXt', 'LinearClsHead', 'outputs_of']
