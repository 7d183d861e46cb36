#!/usr/bin/env python
"""Measure what FCMAE is worth for small data: digits with few labels, and crops of photographs."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np
import sklearn.datasets
import torch
from mmengine.runner import Runner
from PIL import Image
from timing import append_rows, conditions_on, results_file

from mmconvnext.apis import train
from mmconvnext.apis.linear_probe import linear_probe
from mmconvnext.command_line import run_tool
from mmconvnext.datasets import Digits
from mmconvnext.errors import UserError
from mmconvnext.paths import CONFIGS

RESULTS = Path(__file__).parent / 'results/pretraining.jsonl'
# Three stages of stride 2, 4 and 8 for patches of 8 pixels.
ARCH = dict(depths=(2, 2, 2), channels=(32, 64, 128), stem_patch_size=2)
BACKBONE = f'backbone=dict(arch=dict(_delete_=True, **{ARCH}), stem_patch_size=None)'
PHOTOGRAPH_SIDE = 64
LEARNING_RATES = 5e-4, 2e-3  # of fine-tuning; the better one counts, for each start on its own


def compare(
    *, labels: int = 10, seeds: Sequence[int] = (0, 1, 2), epochs: int = 40, out: str | Path | None = None
) -> None:
    """Pre-train, probe and fine-tune with each seed, print a table and append rows to a file.

    Args:
        labels: labeled training images of each class.
        seeds: seeds of the weights, the order, the masks and the choice of labeled images.
        epochs: length of the pre-training on the digits; fine-tunings have 60.
        out: file of JSON lines; default: that of this repository.

    Raises:
        UserError: fewer than two seeds, which have no spread.
    """
    if len(seeds) < 2:
        raise UserError('--seeds: a spread takes at least two of them')
    out = results_file(out, RESULTS)
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        digits = [measure_digits(folder / f'digits{seed}', seed, labels, epochs) for seed in seeds]
        crops = [measure_photographs(folder / f'photographs{seed}', seed, labels, epochs) for seed in seeds]
    for name, rows in (('digits', digits), ('photographs', crops)):
        for measure in rows[0]:
            values = [row[measure] for row in rows]
            print(f'{name:12} {measure:32} {mean(values):8.4f} +- {stdev(values):.4f}  {values}')
    settings = dict(
        labels_per_class=labels, epochs=epochs, arch=ARCH, conditions=conditions_on(torch.device('cpu'))
    )
    append_rows(
        [
            dict(data=name, seed=seed, **row, **settings)
            for name, rows in (('digits', digits), ('photographs', crops))
            for seed, row in zip(seeds, rows, strict=True)
        ],
        out,
    )


def measure_digits(folder: Path, seed: int, labels: int, epochs: int) -> dict[str, float]:
    """Return the loss, and top-1 accuracies with few labels from pre-trained and from random weights."""
    base = 'digits/fcmae_convnext-v2-atto_1xb48_digits.py'
    config = write_config(folder / 'pretraining.py', base, f'model = dict({BACKBONE}, decoder_channels=64)')
    head = f'model = dict({BACKBONE}, head=dict(in_channels={ARCH["channels"][-1]}))'
    classifier = write_config(folder / 'classifier.py', 'digits/convnext-v2-atto_1xb48_digits.py', head)
    pretrained, loss = pretrain(config, folder / 'pretraining', epochs, seed)
    probe = partial(linear_probe, classifier, labels_per_class=labels, seed=seed)
    chosen = few_of_each(labels, seed)
    return dict(
        loss=loss,
        probe_of_random_features=probe(),
        probe_of_pretrained_features=probe(checkpoint=pretrained),
        **{
            f'finetuning_from_{name}': max(
                finetune(classifier, folder / f'{name}{rate}', chosen, seed, rate, start)
                for rate in LEARNING_RATES
            )
            for name, start in (('random', None), ('fcmae', str(pretrained)))
        },
    )


def measure_photographs(folder: Path, seed: int, labels: int, epochs: int) -> dict[str, float]:
    """Return the loss, and how well a probe finds the part of a photograph that a crop is from."""
    crops = write_crops(folder / 'crops', seed)
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='mmconvnext.RandomFlip'),
        dict(type='mmconvnext.MaskPatches', patch_size=8, mask_ratio=0.6),
        dict(type='mmconvnext.PackInputs'),
    ]
    loader = dict(batch_size=48, num_workers=0, dataset=dict(data_root=str(crops), pipeline=steps))
    more = (
        f'model = dict({BACKBONE}, patch_size=8, decoder_channels=64)\n'
        f'train_dataloader = dict({loader}, persistent_workers=False)\n'
        'load_from = None\nauto_scale_lr = dict(enable=False)'
    )
    config = write_config(folder / 'pretraining.py', 'fcmae/fcmae_convnext-v2-tiny_folder.py', more)
    pretrained, loss = pretrain(config, folder / 'pretraining', epochs, seed)
    probe = partial(linear_probe, config, crops, labels_per_class=labels, seed=seed)
    return dict(
        loss=loss,
        probe_of_random_features=probe(),
        probe_of_pretrained_features=probe(checkpoint=pretrained),
    )


def write_config(file: Path, base: str, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'_base_ = {str(CONFIGS / base)!r}\n{text}\n')
    return file


def pretrain(config: Path, work_dir: Path, epochs: int, seed: int) -> tuple[Path, float]:
    """Return the last checkpoint, and the mean loss of the last epoch."""
    options = {
        **schedule(epochs),
        'optim_wrapper.optimizer.lr': 1e-3,
        'randomness.seed': seed,
        'default_hooks.logger.interval': 1,
        'custom_hooks': [],
    }
    train(config, work_dir=str(work_dir), rehearsal=False, cfg_options=options)
    logged = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [row['loss'] for row in map(json.loads, logged) if row.get('epoch') == epochs]
    return work_dir / f'epoch_{epochs}.pth', mean(losses)


def finetune(
    config: Path, work_dir: Path, chosen: list[int], seed: int, rate: float, start: str | None
) -> float:
    """Return the top-1 accuracy on the test digits, from 0 to 1."""
    options = {
        **schedule(60),
        'train_cfg.val_interval': 60,
        'optim_wrapper.optimizer.lr': rate,
        'randomness.seed': seed,
        'train_dataloader.dataset.indices': chosen,
        'load_from': start,
    }
    runner = train(config, work_dir=str(work_dir), rehearsal=False, cfg_options=options)
    return last_accuracy(runner) / 100


def schedule(epochs: int) -> dict[str, int]:
    return {
        'train_cfg.max_epochs': epochs,
        'param_scheduler.epochs': epochs,
        'param_scheduler.warmup_epochs': epochs // 10,
        'default_hooks.checkpoint.interval': epochs,
    }


def last_accuracy(runner: Runner) -> float:
    return float(runner.message_hub.get_scalar('val/accuracy/top1').current())


def few_of_each(count: int, seed: int) -> list[int]:
    """Choose labeled training digits of each class."""
    labels, choose = Digits(split='train').get_gt_labels(), np.random.default_rng(seed)
    classes = (np.flatnonzero(labels == label) for label in range(10))
    return [int(i) for numbers in classes for i in choose.choice(numbers, count, replace=False)]


def write_crops(folder: Path, seed: int) -> Path:
    """Write crops of three photographs, with a class for each quarter; validation has another part of it."""
    draw, side = np.random.default_rng(seed), PHOTOGRAPH_SIDE
    photographs = Path(sklearn.datasets.__file__).parent / 'images'
    files = photographs / 'china.jpg', photographs / 'flower.jpg'
    for file in (*files, Path(matplotlib.get_data_path(), 'sample_data/grace_hopper.jpg')):
        image = Image.open(file).convert('RGB')
        width, height = image.size[0] // 2, image.size[1] // 2
        for quarter in range(4):
            left, top = quarter % 2 * width, quarter // 2 * height
            border = left + width * 2 // 3
            for split, (first, last), count in (
                ('train', (left, border - side), 50),
                ('val', (border, left + width - side), 30),
            ):
                place = folder / split / f'{file.stem}{quarter}'
                place.mkdir(parents=True)
                for i in range(count):
                    x, y = draw.integers(first, last + 1), draw.integers(top, top + height - side + 1)
                    image.crop((x, y, x + side, y + side)).save(place / f'{i}.png', icc_profile=None)
    return folder


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--labels', type=int, default=10, help='labeled training images of each class')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='one run each')
    parser.add_argument('--epochs', type=int, default=40, help='length of each pre-training')
    parser.add_argument(
        '--out', metavar='FILE', help='file of JSON lines to append to; default that of this repository'
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(compare, parse_args())
