"""Explain errors of a run by options of its config."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from types import FrameType

from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.registry import HOOKS, METRICS, Registry
from mmengine.runner import Runner, ValLoop
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from ..errors import RunError, UserError
from ..memory import is_out_of_memory
from .hooks import places_of_hooks
from .metrics import places_of_metrics

# Errors that a wrong config raises while its parts are built; OpenMMLab often uses assertions.
BUILD_ERRORS = (AssertionError, AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)

# Method of a Runner -> option that it reads.
OPTIONS = dict(
    setup_env='env_cfg',
    set_randomness='randomness',
    build_visualizer='visualizer',
    build_log_processor='log_processor',
    build_logger='log_level',
    build_model='model or data_preprocessor',
    register_hook='custom_hooks',
    _maybe_compile='compile',
    wrap_model='model_wrapper_cfg',
    scale_lr='auto_scale_lr',
    build_optim_wrapper='optim_wrapper',
    build_param_scheduler='param_scheduler',
    build_evaluator='val_evaluator',
    build_train_loop='train_cfg',
    build_val_loop='val_cfg',
)


@contextmanager
def naming_broken_images():
    """Turn the traceback of a loader process into its message, with the path of a broken image."""
    try:
        yield
    except Exception as error:  # torch raises the error of a loader process with its type
        # A loader process sends its traceback as text, with the message at the end.
        told = str(error).split(f'\n{UserError.__module__}.UserError: ')
        if isinstance(error, UserError) and len(told) > 1:
            raise UserError(told[-1].strip()) from error
        broken = re.findall(r'failed to load image: (.+)', str(error))
        if not broken:
            raise
        path, _, reason = broken[-1].partition(': ')
        because = f' ({reason})' if reason else ''
        raise UserError(f'{path} cannot be read as an image{because}; replace it or take it out') from error


@contextmanager
def explained(cfg: Config, hint: str = '') -> Iterator[None]:
    """Turn errors of a run into a message that names the option of the config."""
    try:
        yield
    except RunError as error:
        raise UserError(f'the first step does not work: {error}') from error
    except UserError:
        raise
    except Exception as error:  # a config can cause any error
        kind = RunError if get_rank() else UserError  # tools print a UserError of the first process only
        raise kind(f'{explain(error, cfg)}{hint}') from error


def explain(error: Exception, cfg: Config) -> str:
    """Return the option of the config and its mistake."""
    frames = frames_of(error)
    validating = any(isinstance(frame.f_locals.get('self'), ValLoop) for frame in frames)
    loader = 'val_dataloader' if validating else 'train_dataloader'
    if is_out_of_memory(error):
        return (
            f'{loader}.batch_size={cfg[loader].get("batch_size")} needs more memory than there is; lower it '
            '(--accumulate keeps the batch of the recipe), or compute activations again in the backward pass '
            'with --cfg-options model.backbone.with_cp=True'
        )
    if 'equal size' in str(error) and any(frame.f_code.co_name == 'default_collate' for frame in frames):
        return (
            f'{loader}: the images of a batch have different sizes ({reason(error)}); let its pipeline '
            "crop or resize them to one, as with dict(type='CenterCrop', crop_size=224)"
        )
    for frame in reversed(frames):
        option = option_of(frame, cfg, loader)
        if option:
            return f'{option} does not fit this training: {reason(error)}'
    return f'the training does not work: {reason(error)}'


def frames_of(error: BaseException) -> list[FrameType]:
    """Return the frames of an error, innermost last, including those of its causes."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    inner = error.__cause__ or error.__context__
    return frames + (frames_of(inner) if inner is not None else [])


def option_of(frame: FrameType, cfg: Config, loader: str) -> str | None:
    """Return the option whose part runs in a frame, with the name of the part."""
    part = frame.f_locals.get('self')
    kind = type(part).__name__
    if isinstance(part, Hook):
        return f'{option_of_part(part, places_of_hooks(cfg), HOOKS, "custom_hooks")} ({kind})'
    if isinstance(part, BaseMetric):
        metrics = places_of_metrics(cfg, 'val_evaluator')
        return f'{option_of_part(part, metrics, METRICS, "val_evaluator")} ({kind})'
    if isinstance(part, Evaluator):
        return 'val_evaluator'
    if isinstance(part, Dataset | BaseTransform):
        return f'{loader}.dataset{".pipeline" * isinstance(part, BaseTransform)} ({kind})'
    if isinstance(part, nn.Module) and not is_model_wrapper(part):
        return place_in_model(part, frame)
    for base, option in ((OptimWrapper, 'optim_wrapper'), (Optimizer, 'optim_wrapper.optimizer')):
        if isinstance(part, base):
            return f'{option} ({kind})'
    if isinstance(part, _ParamScheduler):
        return f'param_scheduler ({kind})'
    if frame.f_code.co_name == 'build_dataloader':
        return loader
    return OPTIONS.get(frame.f_code.co_name) if isinstance(part, Runner) else None


def option_of_part(part, places: list[tuple[str, dict]], registry: Registry, otherwise: str) -> str:
    found = (place for place, each in places if registered(registry, each['type']) is type(part))
    return next(found, otherwise)


def place_in_model(module: nn.Module, frame: FrameType) -> str | None:
    """Return the dotted name of a module in the network."""
    while frame is not None and not isinstance(frame.f_locals.get('self'), Runner):
        frame = frame.f_back
    if frame is None:
        return None
    model = getattr(frame.f_locals['self'], 'model', None)  # None while the network is being built
    names = {id(each): name for name, each in model.named_modules()} if model is not None else {}
    name = names.get(id(module))
    if name is None:
        return None
    name = name.removeprefix('module.')
    place = name if name.startswith('data_preprocessor') else f'model.{name}'.rstrip('.')
    return f'{place} ({type(module).__name__})'


def reason(error: Exception) -> str:
    """Return the message of an error, with its type if the message alone is unclear."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    text = re.sub(r' in <.+ object at 0x\w+>$', '', text).rstrip('.')
    unknown = re.match(r'(.+?) is not in the .+? registry\. Please check', text)
    if unknown:
        return f"type='{unknown[1]}' is unknown"
    return text if ' ' in text else f'{type(error).__name__}: {text}'.rstrip(': ')


def registered(registry: Registry, kind: str | type) -> type | None:
    """Return the class of a type in a config, as mmengine looks it up."""
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as current:
        return current.get(kind)
