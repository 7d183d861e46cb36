from .. import _quiet  # noqa: F401, before all that imports mmpretrain
from .config import load_config
from .evaluate import evaluate
from .runner import build_runner
from .smoke import make_smoke_test
from .train import train

__all__ = ['build_runner', 'evaluate', 'load_config', 'make_smoke_test', 'train']
