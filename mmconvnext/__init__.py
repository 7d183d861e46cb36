"""ConvNeXt for people who train and ship vision models: an OpenMMLab model-zoo plugin."""

from importlib import import_module

from ._stack import check_stack
from .version import __version__

check_stack()

# Imported on access, because mmengine imports this package whenever a config has our prefix.
LAZY = {
    'DenseInferencer': '.inference.dense',
    'ImageClassificationInferencer': '.inference.classifier',
    'get_entry': '.zoo',
    'get_model': '.zoo',
    'list_models': '.zoo',
    'outputs_of': '.models',
    'safe_loading': '.zoo',
}

__all__ = ['__version__', *LAZY]


def __getattr__(name: str):
    if name in LAZY:
        return getattr(import_module(LAZY[name], __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
