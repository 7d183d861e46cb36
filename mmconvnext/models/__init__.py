from .. import _quiet_models  # noqa: F401, before all that imports mmpretrain.models
from .convnext import ConvNeXt
from .data_preprocessor import AugmentingDataPreprocessor
from .fcmae import FCMAE
from .linear_head import LinearClsHead
from .network import ARCHS
from .outputs import outputs_of
from .spark import SparK
from .sync_batch_norm import SyncBatchNorm

__all__ = [
    'ARCHS',
    'FCMAE',
    'AugmentingDataPreprocessor',
    'ConvNeXt',
    'LinearClsHead',
    'SparK',
    'SyncBatchNorm',
    'outputs_of',
]
