from .layer_decay import LayerDecayOptimWrapperConstructor
from .sharding import ShardedRunner

__all__ = ['LayerDecayOptimWrapperConstructor', 'ShardedRunner']
