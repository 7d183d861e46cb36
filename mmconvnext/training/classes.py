"""Determine the classes of the head if the config leaves them to the data."""

from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset

from ..checkpoints.reading import Weights
from ..config.inner_datasets import inner_settings
from ..datasets.annotations import check_folders, normal, numbers_folders
from ..datasets.shard_index import read_index
from ..errors import UserError
from ..text import listed
from .datasets import SHARDS, naming
from .explaining import registered


def take_classes_from_data(cfg: Config, loaders: tuple[str, ...], weights: Weights | None) -> bool:
    """Set ``model.head.num_classes`` if it is None, and give every dataset the same classes.

    Training uses the classes of its data. Tests and resumed runs use the classes of the checkpoint, if it
    names them.

    Args:
        cfg: config of a run.
        loaders: names of its dataloaders.
        weights: weights to start from, to resume or to test.

    Returns:
        Whether the head must be initialized, because its outputs in the weights stand for other classes.

    Raises:
        UserError: the data has no class names, or others than the checkpoint to resume.
    """
    head = (
        cfg.model.get('module', cfg.model).get('head') or {}
    )  # the wrapper for test-time augmentation contains the model
    training = 'train_dataloader' in loaders
    known = weights.classes if weights is not None else None
    if head.get('num_classes', 0) is not None:
        name_folders(cfg, loaders, None if training and not cfg.get('resume') else known)
        return False
    from_data = training or known is None
    classes = classes_of_data(cfg[loaders[0]].dataset, loaders[0]) if from_data else known
    if known is not None and sorted(map(normal, known)) == sorted(map(normal, classes)):
        if cfg.get('resume') or not training:
            classes = known  # the order of the trained head
        elif [*map(normal, known)] == [*map(normal, classes)]:
            known = classes
    if training and cfg.get('resume') and known not in (None, classes):
        changed = sorted({*known} ^ {*classes})
        raise UserError(
            f'{cfg.load_from} was trained on {len(known)} classes, the data has {len(classes)} '
            f'(they differ in {listed(changed)}); a resumed run keeps its classes. Correct the '
            'folders, or start another run from these weights with --cfg-options load_from=FILE and another '
            '--work-dir'
        )
    head.num_classes = len(classes)
    for field in loaders:
        for settings in inner_settings(cfg[field].dataset) if cfg.get(field) else []:
            if settings.type != SHARDS:
                give_names(settings, classes, field)
            elif (found := classes_of_data(settings, field)) != classes:
                changed = sorted({*found} ^ {*classes})
                raise UserError(f'{field}.dataset has other classes: they differ in {listed(changed)}')
    return weights is not None and training and not cfg.get('resume') and known != classes


def set_mixup_classes(cfg: Config) -> None:
    """Set the number of classes of mixup to that of the head."""
    outputs = cfg.model.get('head', {}).get('num_classes')
    if outputs is not None and 'num_classes' in cfg.get('data_preprocessor', {}):
        cfg.data_preprocessor.num_classes = outputs


def give_names(settings: ConfigDict, classes: Sequence[str], field: str) -> None:
    """Set the classes of a dataset, which must include its folders."""
    if numbers_folders_of_its_own(settings):
        dataset = built_lazily(settings, field)
        if numbers_folders(dataset) and not dataset.metainfo.get('classes'):
            check_folders(dataset, classes, field)
    settings['classes'] = list(classes)


def name_folders(cfg: Config, loaders: tuple[str, ...], known: tuple[str, ...] | None) -> None:
    """Give datasets that number their folders the classes of the training, so that labels agree.

    Args:
        cfg: config of a run with a fixed number of classes.
        loaders: names of its dataloaders.
        known: class names in a checkpoint; None: those of the training folders.
    """
    for field in loaders:
        for settings in inner_settings(cfg[field].dataset) if cfg.get(field) else []:
            if settings.type == SHARDS or not numbers_folders_of_its_own(settings):
                continue
            if known is None and field == 'train_dataloader':
                known = classes_of_data(cfg[field].dataset, field)
            if known is not None:
                give_names(settings, known, field)


def numbers_folders_of_its_own(settings: ConfigDict) -> bool:
    kind = registered(DATASETS, settings.type)
    if not (isinstance(kind, type) and issubclass(kind, CustomDataset)) or kind.METAINFO:
        return False
    named = settings.get('classes') or (settings.get('metainfo') or {}).get('classes')
    return not (named or settings.get('ann_file')) and settings.get('with_label', True)


def classes_of_data(settings: ConfigDict, field: str) -> tuple[str, ...]:
    """Return the class names of a dataset, or of all datasets in a wrapper, without reading images."""
    each = [classes_of_one(inner, field) for inner in inner_settings(settings)]
    if all(classes == each[0] for classes in each):
        return each[0]
    return tuple(sorted({normal(name) for classes in each for name in classes}))


def classes_of_one(settings: ConfigDict, field: str) -> tuple[str, ...]:
    if settings.type == SHARDS:
        return tuple(read_index(settings.data_root).classes)
    dataset = built_lazily(settings, field, names=True)
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise UserError(
            f'the config leaves the number of classes to the data, but {field}.dataset ({settings.type}) '
            'names none; pass --cfg-options model.head.num_classes=N'
        )
    return tuple(map(str, classes))


def built_lazily(settings: ConfigDict, field: str, *, names: bool = False) -> BaseDataset:
    """Build a dataset without reading annotations, unless class names come from them."""
    with naming(settings, field):
        dataset = DATASETS.build({**settings, 'lazy_init': True})
        if names and not dataset.metainfo.get('classes'):
            dataset.full_init()
        return dataset
