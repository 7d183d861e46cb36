from .layer_decay import LayerDecayOptimWrapperConstructor
from .schedule import WarmupCosineLR

__all__ = ['LayerDecayOptimWrapperConstructor', 'WarmupCosineLR']
