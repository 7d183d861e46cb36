"""Print the results of a training and the next commands."""

import re
import shlex
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..config.inner_datasets import inner_settings
from ..hooks.best import best_checkpoint
from ..models import ConvNeXt
from ..models.fitting import network_of
from ..models.masked_autoencoder import MaskedAutoencoder
from ..models.network import unwrapped
from ..zoo.architectures import V2
from ..zoo.names import recipes
from .model import build_on_meta


def next_steps(runner: Runner) -> str:
    """Return the best checkpoint of a finished run, its score, and commands to test and use it.

    The commands use the config in the work dir, which contains all options of the run, and work in any
    folder. Commands to explain and export are only for classifiers, and the test needs test data. After a
    masked pre-training, they draw reconstructions and fine-tune.
    """
    best = best_checkpoint(runner)
    last = runner.message_hub.get_info('last_ckpt', None)
    checkpoint = str(best.path) if best else last
    if checkpoint is None:
        return 'No checkpoint was saved.'
    if best:
        lines = [f'Best checkpoint: {checkpoint} ({best.metric or "score"} {best.score:.4g})']
        if best.metric.startswith('multi-label') and runner.cfg.default_hooks.checkpoint.save_best == 'auto':
            lines[0] += (
                ', by the first metric of the validation; default_hooks.checkpoint.save_best takes another'
            )
        lines += [f'Last checkpoint: {last}'] if last else []
    else:
        lines = [f'Last checkpoint: {checkpoint}']
    steps = commands(runner, checkpoint)
    return '\n'.join([*lines, *(f'  {name:<12}{shlex.join(words)}' for name, words in steps.items())])


def commands(runner: Runner, checkpoint: str) -> dict[str, list[str]]:
    work_dir = Path(runner.work_dir)
    config = str(work_dir / Path(runner.cfg.filename or f'{runner.timestamp}.py').name)
    image = an_image(runner)
    model = unwrapped(runner.model)
    if isinstance(model, MaskedAutoencoder):
        picture = str(work_dir / 'reconstructed.png')
        return {
            'reconstruct': [tool('reconstruct'), image, config, checkpoint, '--out', picture],
            'fine-tune': [tool('train'), *finetuning(runner.cfg), '--cfg-options', f'load_from={checkpoint}'],
        }
    is_classifier = hasattr(model, 'head') and isinstance(getattr(model, 'backbone', None), ConvNeXt)
    steps = {}
    if has_test_data(runner):
        report = ['--report', str(work_dir / 'report.html')] if is_classifier else []
        steps['test'] = [tool('test'), config, checkpoint, *report]
    weights = ['--model', config, '--checkpoint', checkpoint]
    steps['classify' if is_classifier else 'predict'] = [tool('infer'), image, *weights]
    if is_classifier:
        steps['explain'] = [tool('explain'), image, *weights, '--out', str(work_dir / 'explained.png')]
        onnx = str(Path(checkpoint).with_suffix('.onnx'))
        steps['export'] = [tool('export'), config, checkpoint, '--format', 'onnx', '--out', onnx]
    return steps


def finetuning(cfg: Config) -> list[str]:
    """Return the config that fine-tunes a pre-trained network on data of the same kind, and its data.

    Networks without one, as with patches of another size, get a placeholder.
    """
    backbone = dict(network_of(build_on_meta(cfg).state_dict()).backbone)
    arch = backbone.pop('arch')
    family = 'convnext-v2' if backbone == V2 else 'convnext'
    on_imagenet = inner_settings(cfg.train_dataloader.dataset)[0].type == 'ImageNet'
    name = re.compile(f'{family}-{arch}_' + (r'\d+xb\d+_in1k' if on_imagenet else 'ft_folder'))
    found = filter(name.fullmatch, recipes() if backbone in ({}, V2) and isinstance(arch, str) else ())
    return [next(found, 'CONFIG'), *([] if on_imagenet else ['--data-root', 'FOLDER'])]


def tool(name: str) -> str:
    """Return the path of a tool in the folder of the running one."""
    started = Path(sys.argv[0]).absolute()
    folder = started.parent if started.name == 'train.py' else Path('tools')
    return str(folder / f'{name}.py')


def has_test_data(runner: Runner) -> bool:
    loader = runner.cfg.get('test_dataloader')
    roots = [settings.get('data_root') for settings in inner_settings(loader.dataset)] if loader else []
    return loader is not None and all(not root or Path(root).expanduser().is_dir() for root in roots)


def an_image(runner: Runner) -> str:
    """Return the path of a validation image, or a placeholder."""
    dataset = (
        runner.val_dataloader.dataset if runner.val_loop is not None else runner.train_dataloader.dataset
    )
    sample = dataset.get_data_info(0) if hasattr(dataset, 'get_data_info') else {}
    path = sample.get('img_path')
    return str(Path(path).absolute()) if isinstance(path, str) and '://' not in path else 'IMAGE'
