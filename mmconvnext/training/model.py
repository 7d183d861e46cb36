"""Check that the model, its optimizer and its schedule can be built."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import UninitializedTensorMixin

from ..errors import UserError
from ..registry import default_scope
from .explaining import BUILD_ERRORS, reason


def build_on_meta(cfg: Config) -> nn.Module:
    """Build the model on the meta device, for its names, shapes and attributes."""
    # The wrapper for test-time augmentation has neither weights nor classes.
    settings, scope = cfg.model.get('module', cfg.model), cfg.get('default_scope')
    try:
        with default_scope(scope) if scope else nullcontext():
            try:
                with parameters_on_meta():
                    model = MODELS.build(settings)
            except (NotImplementedError, RuntimeError):  # a model that loads weights in its constructor
                model = MODELS.build(settings).to('meta')
    except (*BUILD_ERRORS, ImportError) as error:
        raise UserError(f'the model of the config cannot be built: {reason(error)}') from error
    channels = getattr(getattr(model, 'backbone', None), 'channels', None)
    expected = getattr(getattr(model, 'head', None), 'in_channels', None)
    if channels and expected and channels[-1] != expected and not getattr(model, 'with_neck', False):
        raise UserError(
            f'the backbone gives {channels[-1]} channels, but model.head.in_channels is {expected}; '
            f'pass --cfg-options model.head.in_channels={channels[-1]}'
        )
    return model


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Create parameters on the meta device; other tensors, such as computed rates, keep their values."""

    def without_memory(_, __, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta or isinstance(parameter, UninitializedTensorMixin):
            return None  # unchanged
        return nn.Parameter(parameter.detach().to('meta'), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(without_memory)
    try:
        yield
    finally:
        handle.remove()


def check_optimizer(cfg: Config, model: nn.Module) -> None:
    if 'constructor' not in cfg.optim_wrapper:
        return  # mmengine's default constructor always fits, and logs a line per parameter
    try:
        build_optim_wrapper(model, cfg.optim_wrapper)
    except BUILD_ERRORS as error:
        raise UserError(f'the optim_wrapper of the config cannot be built: {reason(error)}') from error


def check_schedule(cfg: Config) -> None:
    settings = cfg.get('param_scheduler') or []
    for each in settings if isinstance(settings, (list, tuple)) else [settings]:
        optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
        try:
            PARAM_SCHEDULERS.build(each, default_args=dict(optimizer=optimizer, epoch_length=1))
        except BUILD_ERRORS as error:
            raise UserError(f'the param_scheduler of the config cannot be built: {reason(error)}') from error
