"""Engines that distribute a training over processes."""

from importlib.util import find_spec

from mmengine.config import Config

from ..errors import UserError
from ..paths import CONFIGS

FRAGMENTS = CONFIGS / '_base_/distributed'
ENGINES = ('ddp', 'fsdp', 'deepspeed')


def use_engine(cfg: Config, engine: str) -> None:
    """Merge ``configs/_base_/distributed/ENGINE.py`` into a config, as if it were its last base.

    Raises:
        UserError: the engine is unknown.
    """
    if engine not in ENGINES:
        raise UserError(f'--distributed {engine}: the engines are {", ".join(ENGINES)}; see docs/training.md')
    cfg.merge_from_dict(Config.fromfile(FRAGMENTS / f'{engine}.py').to_dict())


def prepare_engine(cfg: Config, launcher: str) -> None:
    """Complete the config of an engine.

    Raises:
        UserError: the engine would ignore a part of the config, or cannot start.
    """
    runner = cfg.get('runner_type', 'Runner')
    if runner != 'Runner' and launcher == 'none':
        raise UserError(
            f'--distributed ({runner}) spreads a network over several processes, and this is one; '
            'start them with tools/dist_train.sh or tools/slurm_train.sh'
        )
    if 'strategy' in cfg:
        check_deepspeed(cfg)
        cfg.optim_wrapper.type = 'DeepSpeedOptimWrapper'


def check_deepspeed(cfg: Config) -> None:
    """Raise UserError for options that mmengine's DeepSpeedStrategy silently ignores."""
    if find_spec('deepspeed') is None:
        raise UserError('deepspeed is not installed: pip install "mmconvnext[deepspeed]", or use fsdp')
    averages = [str(hook.type) for hook in cfg.get('custom_hooks') or [] if 'EMA' in str(hook.type)]
    wrapper = cfg.optim_wrapper
    ignored = {
        'averages of the weights: pass --cfg-options custom_hooks=[]': averages,
        'AmpOptimWrapper: pass --cfg-options strategy.bf16.enabled=True, not --amp': (
            wrapper.get('type') == 'AmpOptimWrapper'
        ),
        'accumulative_counts: pass --cfg-options strategy.gradient_accumulation_steps=N': (
            'accumulative_counts' in wrapper
        ),
        'clip_grad: pass --cfg-options strategy.gradient_clipping=NORM': 'clip_grad' in wrapper,
        '--auto-scale-lr: set optim_wrapper.optimizer.lr': (cfg.get('auto_scale_lr') or {}).get('enable'),
        # mmengine would resume a run one epoch too late.
        'load_from or --resume: start anew from nothing': cfg.get('load_from'),
    }
    for problem, found in ignored.items():
        if found:
            raise UserError(f'DeepSpeed does not take {problem}; or use --distributed fsdp, which does')
