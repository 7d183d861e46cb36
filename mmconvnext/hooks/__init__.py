from .checkpoint import CheckpointHook
from .ema import EMAHook
from .guards import BrokenImagesHook, FiniteHook
from .preemption import PreemptionHook
from .replay import ReplayHook

__all__ = ['BrokenImagesHook', 'CheckpointHook', 'EMAHook', 'FiniteHook', 'PreemptionHook', 'ReplayHook']
