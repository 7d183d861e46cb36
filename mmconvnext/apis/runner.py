"""Build a Runner once everything it needs has been looked at."""

import re
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import init_dist, is_distributed
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from ..checkpoints import check_fit, load_weights, use_safe_loading
from ..errors import UserError
from .classes import NewHead, take_classes_from_data

# What a wrong config raises while its parts are built; OpenMMLab checks much with assertions.
BUILD_ERRORS = (AssertionError, AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)

# Counting the labels of more samples than this takes longer than a wrong label would cost.
MOST_LABELS_READ = 100_000


def init_distributed(cfg: Config, launcher: str) -> None:
    """Join the other processes of the launcher; over gloo where there are no GPUs."""
    cfg.launcher = launcher
    if launcher == 'pytorch' and not torch.cuda.is_available():
        # mmengine takes for granted that there are GPUs.
        cfg.setdefault('model_wrapper_cfg', dict(type='MMDistributedDataParallel', device_ids=None))
        if not is_distributed():
            torch.distributed.init_process_group('gloo')
    elif launcher != 'none' and not is_distributed():
        init_dist(launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))


def build_runner(cfg: Config, loaders: tuple[str, ...], *, trust_checkpoint: bool = False) -> Runner:
    """mmengine's Runner for a config, checked before anything is written.

    Model, checkpoint, optimizer and datasets are built or read first, so that a wrong arch, a
    checkpoint of another model, missing data or a wrong class count end in one message. The
    datasets go into the Runner as they are, and checkpoints are read as data only.

    Args:
        cfg: with ``work_dir`` set, after ``init_distributed``.
        loaders: the dataloaders this run will use, as ``('train_dataloader', 'val_dataloader')``.
        trust_checkpoint: unpickle whatever ``load_from`` holds, which runs any code in it.

    Raises:
        UserError: what was found, what was expected and what to do.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    use_safe_loading(trust=trust_checkpoint)
    check_data_roots(cfg, loaders)  # before a long download
    weights = None
    if cfg.get('load_from') is not None:
        weights = load_weights(cfg.load_from, trust=trust_checkpoint, mmap=True)
    other_classes = take_classes_from_data(cfg, loaders, weights)
    set_class_count(cfg)
    set_dataloader_defaults(cfg)
    model = build_on_meta(cfg)
    training = 'train_dataloader' in loaders
    if training and 'constructor' in cfg.optim_wrapper:  # mmengine's own writes a log line a parameter
        check_optimizer(cfg, model)
    if weights is not None:
        check_fit(weights.tensors, model, str(cfg.load_from), new_head=training and not cfg.get('resume'))
    datasets = {field: build_dataset(cfg, field, model) for field in loaders if cfg.get(field)}
    runner = Runner.from_cfg(cfg)
    if other_classes:
        runner.register_hook(NewHead())
    for field, dataset in datasets.items():
        # As a function, since the Runner copies the settings of a dataloader, and would copy the data.
        getattr(runner, f'_{field}')['dataset'] = dict(type=lambda dataset=dataset: dataset)
    return runner


def check_data_roots(cfg: Config, loaders: tuple[str, ...]) -> None:
    for field in loaders:
        root = cfg[field].dataset.get('data_root') if cfg.get(field) else None
        if root and not Path(root).expanduser().is_dir():
            raise UserError(
                f'{field}.dataset.data_root {root} is not a folder. Put the data or a link to it there, '
                f'or pass --data-root FOLDER; this one alone: --cfg-options {field}.dataset.data_root=FOLDER.'
            )


def set_class_count(cfg: Config) -> None:
    """Let mixup know the number of classes that the head has."""
    outputs = cfg.model.get('head', {}).get('num_classes')
    if outputs is not None and 'num_classes' in cfg.get('data_preprocessor', {}):
        cfg.data_preprocessor.num_classes = outputs


def set_dataloader_defaults(cfg: Config) -> None:
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(field)
        if loader is not None:
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('pin_memory', torch.cuda.is_available())


def build_on_meta(cfg: Config) -> nn.Module:
    """The model without memory, for its names, shapes and attributes."""
    try:
        with torch.device('meta'):
            # A model for test-time augmentation wraps the one that has weights and classes.
            model = MODELS.build(cfg.model.get('module', cfg.model))
    except BUILD_ERRORS as error:
        raise UserError(f'the model of the config cannot be built: {error}') from error
    channels = getattr(getattr(model, 'backbone', None), 'channels', None)
    expected = getattr(getattr(model, 'head', None), 'in_channels', None)
    if channels and expected and channels[-1] != expected and not getattr(model, 'with_neck', False):
        raise UserError(
            f'the backbone gives {channels[-1]} channels, but model.head.in_channels is {expected}; '
            f'pass --cfg-options model.head.in_channels={channels[-1]}'
        )
    return model


def check_optimizer(cfg: Config, model: nn.Module) -> None:
    try:
        build_optim_wrapper(model, cfg.optim_wrapper)
    except BUILD_ERRORS as error:
        raise UserError(f'the optim_wrapper of the config cannot be built: {error}') from error


def build_dataset(cfg: Config, field: str, model: nn.Module) -> BaseDataset:
    """The dataset of a dataloader, once its folder, classes and first image fit the model."""
    settings = cfg[field].dataset
    place = f'{field}.dataset ({settings.type}'
    root = settings.get('data_root')
    if root:
        place += f', data_root {root}'
    place += ')'
    try:
        dataset = DATASETS.build(settings)
    except UserError:
        raise
    except BUILD_ERRORS as error:
        raise UserError(
            f'{place} cannot be read: {error}. Put one folder a class with images there'
        ) from error
    if len(dataset) == 0:
        raise UserError(f'{place} is empty; it needs at least one image')
    check_classes(dataset, model, place)
    check_first_image(dataset, model, place)
    return dataset


@contextmanager
def naming_broken_images():
    """Turn the traceback of a loader process that met a broken image into a message with its path."""
    try:
        yield
    except Exception as error:
        # A loader process sends its whole traceback as text; the message comes last.
        broken = re.findall(r'failed to load image: (.+)', str(error))
        if not broken:
            raise
        raise UserError(f'{broken[-1]} cannot be read as an image; replace it or take it out') from error


def check_classes(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Raise unless the labels of the dataset are outputs of the head."""
    head = getattr(model, 'head', None)
    outputs = getattr(head, 'num_classes', None)
    if outputs is None or getattr(head, 'regression', False):
        return
    classes = dataset.metainfo.get('classes')
    if classes and len(classes) != outputs:
        raise UserError(
            f'{place} has {len(classes)} classes ({", ".join(map(str, classes[:3]))}, ...), '
            f'but the head has {outputs} outputs; '
            + (
                f'pass --cfg-options model.head.num_classes={len(classes)} or correct the folder'
                if place.startswith('train')
                else 'it needs the classes of the training data, each with its folder'
            )
        )
    if not classes and hasattr(dataset, 'get_gt_labels') and len(dataset) <= MOST_LABELS_READ:
        largest = int(dataset.get_gt_labels().max())
        if largest >= outputs:
            raise UserError(
                f'{place} has a label {largest}, but the head has {outputs} outputs, for labels from 0 to '
                f'{outputs - 1}; pass --cfg-options model.head.num_classes={largest + 1} or correct them'
            )


def check_first_image(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Send one image through the pipeline here, where its error is readable, not in a worker."""
    try:
        image = dataset[0]['inputs']
    except Exception as error:  # transforms raise what they like, cv2 its own
        path = dataset.get_data_info(0).get('img_path', 'number 0')
        raise UserError(f'{place}: image {path} does not pass the pipeline: {error}') from error
    needed = getattr(getattr(model, 'backbone', None), 'min_input_size', 0)
    if isinstance(image, torch.Tensor) and min(image.shape[-2:]) < needed:
        raise UserError(
            f'{place} gives images of {image.shape[-2]} x {image.shape[-1]} pixels, but the backbone '
            f'needs at least {needed} in both directions; resize them in the pipeline or lower '
            'model.backbone.stem_patch_size'
        )
