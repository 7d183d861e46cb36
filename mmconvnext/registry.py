"""Registries of this package: children of mmengine's root, so any library finds ``mmconvnext.Name``.

mmengine imports this module when a config contains ``type='mmconvnext.Name'``, and hides any ImportError
raised here; therefore it imports nothing but mmengine.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def child(name: str, parent: Registry, package: str) -> Registry:
    return Registry(name, parent=parent, locations=[f'mmconvnext.{package}'])


MODELS = child('model', root.MODELS, 'models')
DATASETS = child('dataset', root.DATASETS, 'datasets')
DATA_SAMPLERS = child('data sampler', root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = child('transform', root.TRANSFORMS, 'datasets')
FUNCTIONS = child('function', root.FUNCTIONS, 'datasets')
HOOKS = child('hook', root.HOOKS, 'hooks')
LOOPS = child('loop', root.LOOPS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = child('optimizer wrapper constructor', root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
PARAM_SCHEDULERS = child('parameter scheduler', root.PARAM_SCHEDULERS, 'engine')
RUNNERS = child('runner', root.RUNNERS, 'engine')
VISBACKENDS = child('visualization backend', root.VISBACKENDS, 'engine')
