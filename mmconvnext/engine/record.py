"""Record what a run depends on, and compare it with a checkpoint on resuming."""

import hashlib
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from mmengine.config import Config
from mmengine.dist import get_world_size
from torch.utils.data import Dataset

from ..errors import UserError

MAX_SETTINGS = 20_000
MAX_SETTING_LENGTH = 300
# Set for each start, or without influence on the result.
NOT_COMPARED = (
    *(
        'work_dir',
        'load_from',
        'resume',
        'launcher',
        'log_level',
        'log_processor',
        'visualizer',
        'vis_backends',
    ),
    *('env_cfg', 'experiment_name', 'test_dataloader', 'test_cfg', 'test_evaluator', 'model_wrapper_cfg'),
    *('train_dataloader.num_workers', 'train_dataloader.persistent_workers', 'train_dataloader.pin_memory'),
    *('train_dataloader.prefetch_factor', 'train_dataloader.worker_init_fn'),
)
# Fields of the record that define the position in data and schedule -> words for messages.
FIXED = {
    'loop': 'training counted by',
    'images': 'number of training images',
    'files': 'paths or labels of the training images',
    'classes': 'classes',
    'batch_size': 'batch size over all processes',
    'accumulation': 'batches accumulated for a step',
    'sampler': 'sampler of the training data',
    'seed': 'seed',
}
DIGESTS: WeakKeyDictionary[Dataset, str | None] = WeakKeyDictionary()


def record_of(cfg: Config, dataset: Dataset) -> dict:
    """Return the facts about a run for its checkpoints, as plain values.

    Args:
        cfg: complete config of the run.
        dataset: the training data.
    """
    loader, processes = cfg.train_dataloader, get_world_size()
    sampler = {key: loader.get(key) for key in ('sampler', 'batch_sampler') if loader.get(key)}
    batch_size = loader.get('batch_size')
    settings = [(name, value) for name, value in flat(cfg) if not is_left_out(name)]
    return dict(
        loop='epochs' if cfg.train_cfg.get('max_epochs') is not None else 'iterations',
        images=len(dataset) if hasattr(dataset, '__len__') else None,
        files=digest_of(dataset),
        classes=shortened(list(getattr(dataset, 'metainfo', {}).get('classes') or ())),
        batch_size=batch_size * processes if batch_size else None,
        processes=processes,
        accumulation=cfg.optim_wrapper.get('accumulative_counts', 1),
        sampler=', '.join(
            f'{name}={value}' for name, value in flat(sampler) if not name.endswith('.multiple')
        ),
        seed=cfg.get('randomness', {}).get('seed'),
        settings=dict(settings[:MAX_SETTINGS]),
    )


def check_unchanged(saved: dict, now: dict, source: str) -> None:
    """Raise UserError unless a run can keep its position in the data and the schedule.

    Args:
        saved: ``record_of`` the run that wrote the checkpoint, as read from the file.
        now: ``record_of`` the resumed run.
        source: name of the checkpoint in messages.

    Raises:
        UserError: what has changed.
    """
    # A dataset without a list of files has no digest.
    known = [name for name in FIXED if saved.get(name) is not None and now[name] is not None]
    differing = [name for name in known if saved[name] != now[name]]
    if 'images' in differing and 'files' in differing:
        differing.remove('files')  # follows from the number of iterations
    changed = [
        f'other {FIXED[name]}'  # two digests are meaningless to readers
        if name == 'files'
        else f'{FIXED[name]}: {shortened(saved[name])} -> {shortened(now[name])}'
        for name in differing
    ]
    if changed:
        raise UserError(
            f'{source} cannot be resumed with other data or batches, since its place in them would be lost '
            f'({"; ".join(changed)}). Set back what has changed, or start a new run from its weights: '
            '--cfg-options load_from=FILE and another --work-dir'
        )


def changes(saved: dict, now: dict) -> list[str]:
    """Return one line for each setting of the config that differs from the saved one."""
    before = saved.get('settings')
    if not isinstance(before, dict) or len(before) > MAX_SETTINGS:
        return []
    after = now['settings']
    lines = [
        f'{name}: {shortened(before.get(name, "not set"))} -> {after.get(name, "not set")}'
        for name in {**after, **{name: None for name in before if isinstance(name, str) and len(name) < 300}}
        if before.get(name) != after.get(name)
    ]
    if saved.get('processes') != now['processes']:
        lines.append(f'processes: {shortened(saved.get("processes"))} -> {now["processes"]}')
    return sorted(lines)


def flat(settings: Any, name: str = '') -> Iterator[tuple[str, str]]:
    """Return each value of nested settings by its dotted name."""
    if isinstance(settings, (dict, Config)) and len(settings):
        for key, value in settings.items():
            yield from flat(value, f'{name}.{key}' if name else str(key))
    elif isinstance(settings, (list, tuple)) and any(isinstance(value, dict) for value in settings):
        for number, value in enumerate(settings):
            yield from flat(value, f'{name}.{number}')
    else:
        yield name, shortened(settings)


def shortened(value: Any) -> str:
    """Return a value as text; long ones are cut and get a hash."""
    text = value if isinstance(value, str) else getattr(value, '__qualname__', None) or repr(value)
    if len(text) <= MAX_SETTING_LENGTH:
        return text
    return f'{text[:100]}... ({hashlib.sha256(text.encode()).hexdigest()[:12]})'


def is_left_out(name: str) -> bool:
    return any(name == left_out or name.startswith(f'{left_out}.') for left_out in NOT_COMPARED)


def digest_of(dataset: Dataset) -> str | None:
    """Return a hash of relative paths and labels, or None for data without a list of samples."""
    if dataset not in DIGESTS:
        DIGESTS[dataset] = compute_digest(dataset)
    return DIGESTS[dataset]


def compute_digest(dataset: Dataset) -> str | None:
    index = getattr(dataset, 'index', None)
    if hasattr(index, 'images'):  # for shards
        return str(index.images)
    if not hasattr(dataset, 'get_data_info'):
        return None
    root = f'{str(getattr(dataset, "data_root", None) or "").rstrip("/")}/'
    total = hashlib.sha256()
    for number in range(len(dataset)):
        try:
            info = dataset.get_data_info(number)
        except (AttributeError, NotImplementedError, TypeError):
            return None
        path = str(info.get('img_path', '')).removeprefix(root)
        label = info.get('gt_label', info.get('instances'))
        total.update(f'{path}\0{label}\n'.encode(errors='surrogateescape'))
    return total.hexdigest()[:32]
