from .checkpoint import CheckpointHook
from .guards import BrokenImagesHook, FiniteHook
from .preemption import PreemptionHook
from .replay import ReplayHook

__all__ = ['BrokenImagesHook', 'CheckpointHook', 'FiniteHook', 'PreemptionHook', 'ReplayHook']
