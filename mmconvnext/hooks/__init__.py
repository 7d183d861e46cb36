from .progress import ProgressHook
from .throughput import ThroughputHook

__all__ = ['ProgressHook', 'ThroughputHook']
