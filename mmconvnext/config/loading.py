"""Find config files, apply overrides and check the result."""

import inspect
from copy import deepcopy
from difflib import get_close_matches

import mmengine.registry
from mmengine.config import Config, ConfigDict
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from mmpretrain.models import ClsDataPreprocessor
from torch.utils.data import DataLoader

from ..errors import UserError, did_you_mean
from ..registry import default_scope
from .distributed import use_engine
from .libraries import check_installed
from .values import check_names, check_values

# Read from the whole config by mmengine's Runner or our tools, so not arguments of the Runner.
TOP_LEVEL = {
    *('compile', 'find_unused_parameters', 'model_wrapper_cfg', 'runner_type'),
    *('sync_bn', 'tta_model', 'tta_pipeline'),
}

# Top-level dicts without a type -> what takes their keys, and further keys that are read.
UNTYPED = {
    'train_dataloader': ([DataLoader], set()),
    'val_dataloader': ([DataLoader], set()),
    'test_dataloader': ([DataLoader], set()),
    'train_cfg': ([EpochBasedTrainLoop, IterBasedTrainLoop], {'by_epoch'}),
    'val_cfg': ([ValLoop], set()),
    'test_cfg': ([TestLoop], set()),
    'randomness': ([Runner.set_randomness], set()),
    'auto_scale_lr': ([], {'base_batch_size', 'enable'}),
    'data_preprocessor': ([ClsDataPreprocessor], set()),
    'optim_wrapper': ([OptimWrapper, AmpOptimWrapper], {'constructor', 'optimizer', 'paramwise_cfg'}),
}


def check_config(
    cfg: Config, name: str, cfg_options: dict | None = None, *, distributed: str | None = None
) -> Config:
    """Merge overrides into a config and check it as a whole.

    Args:
        cfg: result of ``read_config``; changed in place.
        name: name of the config in messages.
        cfg_options: dotted key -> value, such as ``{'model.backbone.drop_path_rate': 0.2}``.
        distributed: engine that is merged before the overrides, see ``use_engine``.

    Raises:
        UserError: the engine is unknown, a library is missing, or neither the config nor the configured type
            knows an option.
    """
    check_installed(cfg.get('default_scope'), name)
    if distributed is not None:
        use_engine(cfg, distributed)
    with default_scope(cfg.get('default_scope', 'mmengine')):
        for option in cfg_options or {}:
            check_option(cfg, option)
        try:
            # A copy, because mmengine removes _delete_ from the dict that it merges.
            cfg.merge_from_dict(deepcopy(cfg_options or {}))
        except TypeError as error:  # a dict instead of a value, or the reverse
            raise UserError(f'--cfg-options: {error}') from error
        for section in ('default_hooks', 'custom_hooks', 'env_cfg', 'randomness'):
            if section in cfg and cfg[section] is None:  # mmengine uses its defaults for these
                cfg.pop(section)
        try:
            check_names(cfg, arguments_of(Runner) | TOP_LEVEL, name)
            check_values(cfg, name)
        except ImportError as error:  # for types that a config imports, which mmengine does when reading it
            raise UserError(f'{name}: {error}; install what is missing, or correct the import') from error
    return cfg


def check_option(cfg: Config, option: str) -> None:
    """Raise UserError for a dotted key that the config cannot have."""
    node, walked = cfg._cfg_dict, []
    for part in option.split('.'):
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(
                    f'option {option}: {".".join(walked)} is a list of {len(node)}, so '
                    f'{part!r} should be a number from 0 to {len(node) - 1}'
                )
            node = node[int(part)]
        elif not isinstance(node, dict):
            raise UserError(f'option {option}: {".".join(walked)} is {node!r} and has nothing inside')
        elif part in node:
            node = node[part]
        else:
            known, is_open = known_keys(node, walked, cfg)
            # If any key is accepted, only keys similar to known ones are errors.
            if part not in known and (not is_open or get_close_matches(part, known, cutoff=0.8)):
                place = '.'.join(walked) or 'the config'
                raise UserError(f'option {option}: {place} has no {part!r}{did_you_mean(part, known)}')
            return
        walked.append(part)


def known_keys(node: ConfigDict, path: list[str], cfg: Config) -> tuple[set[str], bool]:
    """Return the keys that the dict at a path can have, and whether it accepts any other key."""
    if not path:
        return set(node) | arguments_of(Runner) | TOP_LEVEL, False
    if len(path) == 1 and path[0] in UNTYPED:
        takers, known = UNTYPED[path[0]]
        return known.union(node, *map(arguments_of, takers)), False
    configured = find_type(node.get('type'), cfg.get('default_scope'))
    known, is_open = set(node) | {'type'}, True
    for parent in inspect.getmro(configured)[:-1] if inspect.isclass(configured) else ():
        if '__init__' in vars(parent) and is_open:
            known |= arguments_of(parent.__init__)
            parameters = inspect.signature(parent.__init__).parameters.values()
            # Without **kwargs, arguments are not passed to base classes.
            is_open = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return known, is_open


def arguments_of(function) -> set[str]:
    return set(inspect.signature(function).parameters) - {'self', 'args', 'kwargs'}


def find_type(name: str | type | None, scope: str | None) -> type | None:
    """Return the class of a ``type`` in any of mmengine's registries."""
    if not isinstance(name, str):
        return name
    for registry in vars(mmengine.registry).values():
        if isinstance(registry, Registry):
            for candidate in (name, f'{scope}.{name}'):
                found = registry.get(candidate)
                if found is not None:
                    return found
    return None
