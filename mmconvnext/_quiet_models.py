"""Import mmpretrain's models before anyone else here does: mmcv without compiled operations warns."""

import warnings

with warnings.catch_warnings():  # of an operation that no classifier uses
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    import mmpretrain.models  # noqa: F401
