"""What a run is about to do, in a few lines."""

import mmengine.runner
import torch
from mmengine.model import is_model_wrapper
from torch.utils.data import DataLoader


def summarize(runner: mmengine.runner.Runner) -> str:
    """Config, model, data, batch, optimizer, device and work dir of a Runner whose parts are built.

    It takes any model and task: what a part does not say is left out.
    """
    lines = {'config': runner.cfg.filename or runner.experiment_name, 'model': describe_model(runner)}
    training = isinstance(runner._train_loop, mmengine.runner.BaseLoop)
    if training:
        loop = runner.train_loop
        length = f'{loop.max_iters:,} iterations'
        if loop.max_epochs > 1:
            length = f'{loop.max_epochs} epochs of {loop.max_iters // loop.max_epochs:,} iterations'
        lines['training'] = f'{describe_data(loop.dataloader)}, {length}'
    for name, loop in (('validation', runner._val_loop), ('test', runner._test_loop)):
        if isinstance(loop, mmengine.runner.BaseLoop):
            lines[name] = describe_data(loop.dataloader)
    if training:
        lines['batch'] = describe_batch(runner)
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)  # a GAN has several
        if optimizer is not None:
            first = optimizer.param_groups[0]
            # The schedule has set lr to where its warmup begins.
            lines['optimizer'] = f'{type(optimizer).__name__}, lr {first.get("initial_lr", first["lr"]):g}'
    lines['device'] = describe_device(runner)
    lines['work dir'] = runner.work_dir
    return '\n' + '\n'.join(f'  {name:<12}{value}' for name, value in lines.items())


def describe_model(runner: mmengine.runner.Runner) -> str:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    parts = [type(model).__name__]
    if hasattr(model, 'backbone'):
        parts.append(type(model.backbone).__name__)
    count = sum(parameter.numel() for parameter in model.parameters())
    return f'{", ".join(parts)}, {count / 1e6:,.2f} M parameters'


def describe_data(loader: DataLoader) -> str:
    # Training data is wrapped, see datasets.replay.
    name = type(getattr(loader.dataset, 'dataset', loader.dataset)).__name__
    return f'{len(loader.dataset):,} images ({name})' if hasattr(loader.dataset, '__len__') else name


def describe_batch(runner: mmengine.runner.Runner) -> str:
    loader = runner.train_dataloader
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    if size is None:
        return 'made by the dataset'
    accumulated = runner.cfg.get('optim_wrapper', {}).get('accumulative_counts', 1)
    factors = [(runner.world_size, 'processes'), (size, 'images'), (accumulated, 'accumulated')]
    total = runner.world_size * size * accumulated
    named = [f'{count} {name}' for count, name in factors if count > 1 or name == 'images']
    return f'{total:,} images' + (f' = {" x ".join(named)}' if len(named) > 1 else '')


def describe_device(runner: mmengine.runner.Runner) -> str:
    device = next(runner.model.parameters()).device
    name = f' ({torch.cuda.get_device_name(device)})' if device.type == 'cuda' else ''
    count = f'{runner.world_size} x ' if runner.world_size > 1 else ''
    return f'{count}{device.type}{name}'
