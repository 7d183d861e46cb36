from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import EpochLoop, IterLoop

__all__ = ['EpochLoop', 'IterLoop', 'LayerDecayOptimWrapperConstructor']
