from .backends import TensorboardBackend, WandbBackend
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import EpochLoop, IterLoop
from .schedule import SparKSchedule, WarmupCosineLR
from .sharding import ShardedRunner

__all__ = [
    'EpochLoop',
    'IterLoop',
    'LayerDecayOptimWrapperConstructor',
    'ShardedRunner',
    'SparKSchedule',
    'TensorboardBackend',
    'WandbBackend',
    'WarmupCosineLR',
]
