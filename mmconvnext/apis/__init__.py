import warnings

# mmcv without compiled ops warns at import; classification uses none of them.
warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')

from .config import load_config  # noqa: E402
from .evaluate import evaluate  # noqa: E402
from .runner import build_runner  # noqa: E402
from .smoke import make_smoke_test  # noqa: E402
from .train import train  # noqa: E402

__all__ = ['build_runner', 'evaluate', 'load_config', 'make_smoke_test', 'train']
