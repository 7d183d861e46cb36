"""Summarize a run in a few lines before it starts."""

from collections.abc import Sequence

import mmengine.runner
import torch
from mmengine.dataset import InfiniteSampler
from torch.utils.data import DataLoader, Dataset

from ..config.image_size import sizes_of
from ..datasets.replay import Replayed
from ..models.network import unwrapped
from ..text import counted, shortened

WIDTH = 12  # of the names of the lines
MAX_NAMED = 3  # classes and folders
MAX_LETTERS = 200  # of each


def summarize(runner: mmengine.runner.Runner) -> str:
    """Return config, model, data, batch, optimizer, device and work dir of a Runner whose parts are built.

    This works for any model and task: unknown facts are omitted.
    """
    lines = {'config': runner.cfg.filename or runner.experiment_name, 'model': describe_model(runner)}
    training = isinstance(runner._train_loop, mmengine.runner.BaseLoop)
    if training:
        loop = runner.train_loop
        length = f'{loop.max_iters:,} iterations'
        if loop.max_epochs > 1:
            length = f'{loop.max_epochs} epochs of {loop.max_iters // loop.max_epochs:,} iterations'
        described = f'{describe_data(loop.dataloader)}{describe_size(runner, "train")}, {length}'
        lines['training'] = with_origin(described, loop.dataloader)
    for name, loop, field in (('validation', runner._val_loop, 'val'), ('test', runner._test_loop, 'test')):
        if isinstance(loop, mmengine.runner.BaseLoop):
            described = f'{describe_data(loop.dataloader)}{describe_size(runner, field)}'
            lines[name] = with_origin(described, loop.dataloader)
    if training:
        lines['batch'] = describe_batch(runner)
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)  # a GAN has several optimizers
        if optimizer is not None:
            first = optimizer.param_groups[0]
            # The schedule has set lr to the start of its warm-up.
            lines['optimizer'] = f'{type(optimizer).__name__}, lr {first.get("initial_lr", first["lr"]):g}'
    lines['device'] = describe_device(runner)
    lines['work dir'] = runner.work_dir
    return '\n' + '\n'.join(f'  {name:<{WIDTH}}{value}' for name, value in lines.items())


def with_origin(description: str, loader: DataLoader) -> str:
    origin = describe_origin(loader)
    return f'{description}\n  {"":<{WIDTH}}{origin}' if origin else description


def describe_model(runner: mmengine.runner.Runner) -> str:
    model = unwrapped(runner.model)
    parts = [type(model).__name__]
    if hasattr(model, 'backbone'):
        parts.append(type(model.backbone).__name__)
    count = sum(parameter.numel() for parameter in model.parameters())
    return f'{", ".join(parts)}, {count / 1e6:,.2f} M parameters'


def describe_data(loader: DataLoader) -> str:
    dataset = dataset_of(loader)
    name = type(dataset).__name__
    if not hasattr(dataset, '__len__'):
        return name
    if getattr(dataset, 'available', len(dataset)) == len(dataset):
        return f'{counted(len(dataset), "image")} ({name})'
    return f'{len(dataset):,} of {dataset.available:,} images ({name})'  # the rest is held out


def describe_size(runner: mmengine.runner.Runner, field: str) -> str:
    """Return the size that images have after the pipeline; empty if the config does not say."""
    settings = (runner.cfg.get(f'{field}_dataloader') or {}).get('dataset')
    sizes = sizes_of(settings) if isinstance(settings, dict) else []
    return f', {" or ".join(sizes)}' if sizes else ''


def describe_origin(loader: DataLoader) -> str:
    """Return the folders and the first classes of a dataset, or an empty text."""
    dataset = dataset_of(loader)
    folders = list(dict.fromkeys(map(folder_of, inner_datasets(dataset))))
    parts = [f'in {first_of(folders)}'] if all(folders) else []
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes:
        parts.append(f'{counted(len(classes), "class")}: {first_of(classes)}')
    return '; '.join(parts)


def dataset_of(loader: DataLoader) -> Dataset:
    return loader.dataset.dataset if isinstance(loader.dataset, Replayed) else loader.dataset


def first_of(names: Sequence) -> str:
    more = ', ...' if len(names) > MAX_NAMED else ''
    return ', '.join(shortened(str(name), MAX_LETTERS) for name in names[:MAX_NAMED]) + more


def inner_datasets(dataset: Dataset) -> list[Dataset]:
    """Return the datasets inside of wrappers that split, join, repeat or balance them."""
    fields = getattr(dataset, '__dict__', {})  # a list has no such attribute
    inner = [fields['dataset']] if 'dataset' in fields else fields.get('datasets')
    return [dataset] if inner is None else [found for each in inner for found in inner_datasets(each)]


def folder_of(dataset: Dataset) -> str:
    """Return the folder of a dataset's images; empty if it has none."""
    prefix = getattr(dataset, 'data_prefix', None)
    prefix = prefix.get('img_path') if isinstance(prefix, dict) else None
    return str(
        getattr(dataset, 'place', None) or prefix or getattr(dataset, 'data_root', None) or ''
    ).removesuffix('/')


def describe_batch(runner: mmengine.runner.Runner) -> str:
    loader = runner.train_dataloader
    size = images_per_batch(loader)
    if size is None:
        return 'made by the dataset'
    accumulated = runner.cfg.get('optim_wrapper', {}).get('accumulative_counts', 1)
    factors = [(runner.world_size, 'processes'), (size, 'images'), (accumulated, 'accumulated')]
    total = runner.world_size * size * accumulated
    named = [f'{count} {name}' for count, name in factors if count > 1 or name == 'images']
    return counted(total, 'image') + (f' = {" x ".join(named)}' if len(named) > 1 else '')


def images_per_batch(loader: DataLoader) -> int | None:
    """Return the images per batch and process, at most its share of the dataset; None if unknown."""
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    sampler = loader.sampler
    if size is None or isinstance(sampler, InfiniteSampler) or not hasattr(sampler, '__len__'):
        return size
    return min(size, len(sampler)) or size


def describe_device(runner: mmengine.runner.Runner) -> str:
    device = next(runner.model.parameters()).device
    name = f' ({torch.cuda.get_device_name(device)})' if device.type == 'cuda' else ''
    count = f'{runner.world_size} x ' if runner.world_size > 1 else ''
    return f'{count}{device.type}{name}'
