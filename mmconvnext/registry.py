"""Our registries: children of mmengine's root, found from any library as ``mmconvnext.Name``.

mmengine imports this module by itself when a config says ``type='mmconvnext.Name'`` and hides an
ImportError raised here, so it imports nothing but mmengine.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, locations=['mmconvnext.models'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, locations=['mmconvnext.datasets'])
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, locations=['mmconvnext.datasets'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    locations=['mmconvnext.engine'],
)
