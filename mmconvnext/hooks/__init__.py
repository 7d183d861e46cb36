from .. import _quiet_models  # noqa: F401, before all that imports mmpretrain.models
from .checkpoint import CheckpointHook
from .class_report import ClassReportHook
from .ema import EMAHook
from .guards import BrokenImagesHook, FiniteHook
from .inference import InferenceHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .reconstruction import ReconstructionHook
from .replay import ReplayHook
from .throughput import ThroughputHook

__all__ = [
    'BrokenImagesHook',
    'CheckpointHook',
    'ClassReportHook',
    'EMAHook',
    'FiniteHook',
    'InferenceHook',
    'PreemptionHook',
    'ProgressHook',
    'ReconstructionHook',
    'ReplayHook',
    'ThroughputHook',
]
