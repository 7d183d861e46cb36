"""Registries of this package: children of mmengine's root, so any library finds ``mmconvnext.Name``.

mmengine imports this module when a config contains ``type='mmconvnext.Name'``, and hides any ImportError
raised here; therefore it imports nothing but mmengine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from mmengine import registry as root
from mmengine.registry import DefaultScope, Registry


@contextmanager
def default_scope(name: str) -> Iterator[None]:
    """Let mmengine look types without a prefix up in this library, inside only.

    mmengine's own ``overwrite_default_scope`` puts back all scopes of before, those of other threads too.
    """
    key = f'mmconvnext-{uuid4().hex}'
    DefaultScope.get_instance(key, scope_name=name)
    try:
        yield
    finally:
        DefaultScope._instance_dict.pop(key, None)


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
