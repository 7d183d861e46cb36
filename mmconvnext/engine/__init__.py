from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import EpochLoop, IterLoop
from .schedule import WarmupCosineLR

__all__ = ['EpochLoop', 'IterLoop', 'LayerDecayOptimWrapperConstructor', 'WarmupCosineLR']
