"""Rehearse a training before its start, to find options of its config that do not work."""

import copy
import gc
import tempfile
import time
from functools import partial

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import (
    DATA_SAMPLERS,
    HOOKS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    VISBACKENDS,
    VISUALIZERS,
    Registry,
)
from mmengine.runner import Runner, ValLoop
from torch.utils.data import DataLoader

from ..engine.rehearsal import Rehearsal, can_rehearse, nothing_kept, with_own_pipeline
from ..errors import UserError, did_you_mean
from .datasets import give_datasets
from .explaining import explained, naming_broken_images, reason, registered
from .hooks import places_of_hooks
from .metrics import places_of_metrics

# Parts that are built together with the run.
TYPES = (
    (DATA_SAMPLERS, 'train_dataloader.sampler'),
    (DATA_SAMPLERS, 'val_dataloader.sampler'),
    (OPTIM_WRAPPERS, 'optim_wrapper'),
    (OPTIMIZERS, 'optim_wrapper.optimizer'),
    (LOOPS, 'train_cfg'),
    (LOOPS, 'val_cfg'),
    (VISUALIZERS, 'visualizer'),
    (MODEL_WRAPPERS, 'model_wrapper_cfg'),
)
HINT = (
    '. This was found before the start, by one training step and one batch of validation; '
    '--no-rehearsal leaves them out'
)


def rehearse(cfg: Config, datasets: dict[str, BaseDataset], runner_class: type[Runner]) -> str:
    """Run one training step and validate one batch in a temporary folder, with all hooks and metrics.

    A separate Runner does this. Its network has random weights and is freed before the real one is built, so
    a GPU never holds two networks, and the run is bitwise the same with and without a rehearsal. All
    processes take part, data-parallel or sharded. A GPU runs a whole batch, which finds batches that are too
    large; a CPU is slower and runs at most ``MAX_IMAGES_ON_CPU`` images. Gradients are not accumulated and
    the network is not compiled. Runs with DeepSpeed or other training loops than mmengine's are not
    rehearsed.

    Args:
        cfg: config of the Runner.
        datasets: datasets by the name of their dataloader.
        runner_class: class of the Runner.

    Returns:
        A sentence for the log.

    Raises:
        UserError: an option does not work; the message names it.
    """
    check_parts(cfg)
    val_loop = None if cfg.get('val_cfg') is None else registered(LOOPS, cfg.val_cfg.get('type', ValLoop))
    if not can_rehearse(runner_class, registered(LOOPS, cfg.train_cfg.type), val_loop):
        return 'No rehearsal: it works neither with DeepSpeed nor with loops other than those of mmengine'
    start = time.perf_counter()
    attributes = dict(
        starts_from_weights=cfg.get('load_from') is not None, check_hooks=partial(check_hooks, cfg)
    )
    cls = type('RehearsalRunner', (Rehearsal, runner_class), attributes)
    with tempfile.TemporaryDirectory() as folder, nothing_kept(), explained(cfg, HINT):
        runner = cls.from_cfg(rehearsal_config(cfg, folder))
        give_datasets(runner, {field: with_own_pipeline(dataset) for field, dataset in datasets.items()})
        with naming_broken_images():
            runner.train()
        del runner
        gc.collect()  # hooks and loops have references to their Runner
    seconds = time.perf_counter() - start
    return f'One training step and one validation batch were tried in {seconds:.1f} s'


def rehearsal_config(cfg: Config, folder: str) -> Config:
    """Return a copy of the config that writes to a folder, starts from scratch and takes a step per batch."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.load_from, cfg.resume = folder, None, False
    cfg.optim_wrapper.pop('accumulative_counts', None)
    for field in ('train_dataloader', 'val_dataloader'):
        if cfg.get(field) is not None:
            cfg[field].update(num_workers=0, persistent_workers=False)
            for key in ('prefetch_factor', 'multiprocessing_context', 'timeout'):
                cfg[field].pop(key, None)
    if cfg.get('visualizer'):  # they may send data
        cfg.visualizer.vis_backends = []
    if (cfg.get('default_hooks') or {}).get('checkpoint'):
        cfg.default_hooks.checkpoint.pop('published_keys', None)  # there is no file to publish
    return cfg


def check_parts(cfg: Config) -> None:
    """Check intervals and types, and build metrics and visualization backends one by one."""
    check_intervals(cfg)
    check_validation(cfg)
    for registry, place in TYPES:
        settings = option(cfg, place)
        if isinstance(settings, dict) and 'type' in settings:
            check_type(registry, settings, place)
    for place, settings in places_of_metrics(cfg, 'val_evaluator'):
        check_part(METRICS, settings, place)
    for i, settings in enumerate((cfg.get('visualizer') or {}).get('vis_backends') or []):
        check_part(VISBACKENDS, {'save_dir': '', **settings}, f'visualizer.vis_backends[{i}]')
    for field in ('train_dataloader', 'val_dataloader'):
        if cfg.get(field):
            check_loader(cfg[field], field)


def option(cfg: Config, place: str):
    """Return the value of a dotted option, or None if it is missing."""
    value = cfg
    for key in place.split('.'):
        value = value.get(key) if isinstance(value, (Config, dict)) else None
    return value


def check_intervals(cfg: Config) -> None:
    for place, settings in places_of_hooks(cfg):
        for key in ('interval', 'every_iters') if isinstance(settings, dict) else ():
            value = settings.get(key, -1)  # means never, like None
            if value is not None and value != -1 and (not isinstance(value, int) or value < 1):
                raise UserError(f'{place}.{key}={value!r}: expected a whole number from 1 on')


def check_validation(cfg: Config) -> None:
    fields = ('val_cfg', 'val_dataloader', 'val_evaluator')
    missing = [field for field in fields if cfg.get(field) is None]
    if len(missing) in (1, 2):
        raise UserError(
            f'{" and ".join(missing)} missing: validation takes {", ".join(fields)}; leave it out with '
            '--no-validate'
        )


def check_hooks(cfg: Config) -> None:
    """Build hooks one by one; some of them need the visualizer, which exists by now."""
    for place, settings in places_of_hooks(cfg):
        check_part(HOOKS, settings, place)


def check_part(registry: Registry, settings: dict, place: str) -> None:
    if not isinstance(settings, dict) or 'type' not in settings:
        raise UserError(f"{place}={settings!r}: expected dict(type='NAME', ...)")
    check_type(registry, settings, place)
    try:
        registry.build({key: value for key, value in settings.items() if key != 'priority'})
    except UserError:
        raise
    except Exception as error:  # constructors raise any exception
        kind = settings['type']
        name = kind if isinstance(kind, str) else kind.__name__
        raise UserError(f'{place} ({name}) cannot be built: {reason(error)}') from error


def check_type(registry: Registry, settings: dict, place: str) -> None:
    kind = settings['type']
    if registered(registry, kind) is None:
        raise UserError(f"{place}.type='{kind}' is unknown{did_you_mean(str(kind), known_names(registry))}")


def known_names(registry: Registry) -> set[str]:
    with registry.switch_scope_and_registry(None) as current:
        child = registry.children.get('mmconvnext')
        ours = {f'mmconvnext.{name}' for name in child.module_dict} if child else set()
        return {*registry.module_dict, *current.module_dict, *ours}


def check_loader(loader: dict, field: str) -> None:
    """Raise UserError for arguments that torch's DataLoader rejects."""
    keys = ('num_workers', 'prefetch_factor', 'persistent_workers', 'timeout', 'multiprocessing_context')
    given = {key: loader[key] for key in keys if key in loader}
    try:
        DataLoader([0], **given)
    except (TypeError, ValueError) as error:
        raise UserError(f'{field}: {", ".join(f"{k}={v!r}" for k, v in given.items())}: {error}') from error
