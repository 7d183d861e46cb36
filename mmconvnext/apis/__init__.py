from ..training.runner import build_runner
from ..training.smoke import make_smoke_test
from ..zoo.names import load_config
from .evaluate import evaluate
from .train import train

__all__ = ['build_runner', 'evaluate', 'load_config', 'make_smoke_test', 'train']
