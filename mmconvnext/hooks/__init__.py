from .. import _quiet  # noqa: F401, before all that imports mmpretrain
from .checkpoint import CheckpointHook
from .class_report import ClassReportHook
from .ema import EMAHook
from .guards import BrokenImagesHook, FiniteHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .replay import ReplayHook
from .throughput import ThroughputHook

__all__ = [
    'BrokenImagesHook',
    'CheckpointHook',
    'ClassReportHook',
    'EMAHook',
    'FiniteHook',
    'PreemptionHook',
    'ProgressHook',
    'ReplayHook',
    'ThroughputHook',
]
