"""Build a Runner once everything it needs has been looked at."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from ..checkpoints import check_fit, load_checkpoint, use_safe_loading, weights_of
from ..errors import UserError


def build_runner(cfg: Config, loaders: tuple[str, ...]) -> Runner:
    """mmengine's Runner for a config, checked before anything is written.

    Model, checkpoint and datasets are built or read first, so that a wrong arch, a checkpoint of
    another model, missing data or a wrong class count end in one message. The datasets go into
    the Runner as they are, and checkpoints are read as data only.

    Args:
        cfg: with ``work_dir`` and ``launcher`` set.
        loaders: the dataloaders this run will use, as ``('train_dataloader', 'val_dataloader')``.

    Raises:
        UserError: what was found, what was expected and what to do.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    use_safe_loading()
    model = build_on_meta(cfg)
    if cfg.load_from is not None:
        weights = weights_of(load_checkpoint(cfg.load_from, mmap=True))
        starting = 'train_dataloader' in loaders and not cfg.get('resume')
        check_fit(weights, model, str(cfg.load_from), new_head=starting)
    datasets = {field: build_dataset(cfg, field, model) for field in loaders if cfg.get(field)}
    prepare_cpu(cfg)
    runner = Runner.from_cfg(cfg)
    for field, dataset in datasets.items():
        getattr(runner, f'_{field}')['dataset'] = dataset
    return runner


def build_on_meta(cfg: Config) -> nn.Module:
    """The model without memory, for its names, shapes and attributes."""
    try:
        with torch.device('meta'):
            # A model for test-time augmentation wraps the one that has weights and classes.
            return MODELS.build(cfg.model.get('module', cfg.model))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f'the model of the config cannot be built: {error}') from error


def build_dataset(cfg: Config, field: str, model: nn.Module) -> BaseDataset:
    """The dataset of a dataloader, once its folder, classes and first image fit the model."""
    settings = cfg[field].dataset
    place = f'{field}.dataset ({settings.type}'
    root = settings.get('data_root')
    if root:
        place += f', data_root {root}'
        if not Path(root).expanduser().is_dir():
            raise UserError(
                f'{field}.dataset.data_root {root} is not a folder. Put the data or a link to it there, '
                f'or pass --cfg-options {field}.dataset.data_root=FOLDER.'
            )
    place += ')'
    try:
        dataset = DATASETS.build(settings)
    except UserError:
        raise
    # The datasets of mmpretrain check their folders with assertions and RuntimeErrors.
    except (AssertionError, RuntimeError, OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f'{place} cannot be read: {error}') from error
    if len(dataset) == 0:
        raise UserError(f'{place} is empty; it needs at least one image')
    check_classes(dataset, model, place)
    check_first_image(dataset, model, place)
    return dataset


def check_classes(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    classes = dataset.metainfo.get('classes')
    outputs = getattr(getattr(model, 'head', None), 'num_classes', None)
    if classes and outputs and len(classes) != outputs:
        raise UserError(
            f'{place} has {len(classes)} classes ({", ".join(map(str, classes[:3]))}, ...), '
            f'but the head has {outputs} outputs; '
            f'pass --cfg-options model.head.num_classes={len(classes)} or correct the folder'
        )


def check_first_image(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Send one image through the pipeline here, where its error is readable, not in a worker."""
    try:
        image = dataset[0]['inputs']
    except (AssertionError, RuntimeError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        path = dataset.get_data_info(0).get('img_path', 'number 0')
        raise UserError(f'{place}: image {path} does not pass the pipeline: {error}') from error
    needed = getattr(getattr(model, 'backbone', None), 'min_input_size', 0)
    if isinstance(image, torch.Tensor) and min(image.shape[-2:]) < needed:
        raise UserError(
            f'{place} gives images of {image.shape[-2]} x {image.shape[-1]} pixels, but the backbone needs '
            f'at least {needed} in both directions; resize them in the pipeline or lower '
            'model.backbone.stem_patch_size'
        )


def prepare_cpu(cfg: Config) -> None:
    """Let several processes run without GPUs; mmengine takes for granted that there are some."""
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group('gloo')
        cfg.setdefault('model_wrapper_cfg', dict(type='MMDistributedDataParallel', device_ids=None))
