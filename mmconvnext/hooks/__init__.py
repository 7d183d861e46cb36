from .checkpoint import CheckpointHook
from .ema import EMAHook
from .guards import BrokenImagesHook, FiniteHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .replay import ReplayHook
from .throughput import ThroughputHook

__all__ = [
    'BrokenImagesHook',
    'CheckpointHook',
    'EMAHook',
    'FiniteHook',
    'PreemptionHook',
    'ProgressHook',
    'ReplayHook',
    'ThroughputHook',
]
