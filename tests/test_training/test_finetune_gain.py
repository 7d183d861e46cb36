"""Fine-tuning on few images of new classes gives a higher accuracy than training from scratch."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mmconvnext.apis import train
from mmconvnext.datasets.digits import HELD_OUT_PER_CLASS

CONFIG = 'convnext-v2-atto_ft_folder'
PER_CLASS = 20
SMALL = {
    'model.backbone.arch': dict(_delete_=True, depths=(2, 2, 4, 2), channels=(24, 48, 96, 192)),
    'model.head.in_channels': 192,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'train_dataloader.dataset.pipeline.1.scale': 32,
    'train_dataloader.dataset.pipeline.2.prob': 0.0,  # mirrored digits are not digits
    'val_dataloader.dataset.pipeline.1.scale': 32,
    'val_dataloader.dataset.pipeline.2.crop_size': 32,
    'train_cfg.val_interval': 100,
    'default_hooks.checkpoint.interval': 100,
    'default_hooks.checkpoint.save_best': None,
}


def picture(digit, draw):
    """Return a digit of random size and angle at a random position in 32 x 32 pixels."""
    size = int(draw.integers(16, 27))
    ink = Image.fromarray(np.round(digit.reshape(8, 8) * (255 / 16)).astype(np.uint8))
    ink = ink.resize((size, size), Image.BICUBIC).rotate(draw.uniform(-25, 25), Image.BICUBIC)
    x, y = draw.integers(0, 33 - size, 2)
    mask = np.zeros((32, 32))
    mask[y : y + size, x : x + size] = np.asarray(ink) / 255
    paper, colour = draw.uniform(0, 40), draw.uniform(200, 255)
    noisy = paper * (1 - mask) + colour * mask + draw.normal(0, 5, (32, 32))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert('RGB')


def write(root, digits, draw, chosen):
    """Write the chosen training images and the held-out validation images into class folders."""
    images, labels = load_digits(return_X_y=True)
    for digit in digits:
        members = np.flatnonzero(labels == digit)
        held = members[np.linspace(0, len(members) - 1, HELD_OUT_PER_CLASS).round().astype(int)]
        for split, numbers in (('train', chosen(np.setdiff1d(members, held))), ('val', held)):
            folder = root / split / str(digit)
            folder.mkdir(parents=True)
            for place, number in enumerate(numbers):
                picture(images[number], draw).save(folder / f'{place}.png')
    return root


def accuracy(root, work_dir, **options):
    runner = train(CONFIG, data_root=str(root), work_dir=str(work_dir), cfg_options=SMALL | options)
    return runner.message_hub.get_scalar('val/accuracy/top1').current()


@pytest.mark.slow
def test_twenty_images_of_new_classes_are_learnt_from_other_digits_far_better_than_from_nothing(tmp_path):
    """With the schedule of the config, seeds 0, 1, 2 gave 48, 48, 52 % compared with 26, 31, 25 %.

    Chance is 20 %. Centered digits would show no difference: 100 of them are enough to learn from scratch.
    """
    draw = np.random.default_rng(0)
    first = write(tmp_path / 'first', range(5), draw, lambda rest: np.repeat(rest, 6))
    second = write(
        tmp_path / 'second', range(5, 10), draw, lambda rest: draw.choice(rest, PER_CLASS, replace=False)
    )
    pretraining = {
        'load_from': None,
        'optim_wrapper.optimizer.lr': 1e-3,
        'optim_wrapper.paramwise_cfg.layer_decay_rate': 1.0,
        'auto_scale_lr.enable': False,
        'train_dataloader.batch_size': 64,
        'train_cfg.max_epochs': 8,
        'param_scheduler.epochs': 8,
    }
    accuracy(first, tmp_path / 'pretrained', **pretraining)
    start = next((tmp_path / 'pretrained').glob('epoch_8.pth'))
    tuned = accuracy(second, tmp_path / 'tuned', load_from=str(start))
    scratch = accuracy(second, tmp_path / 'scratch', load_from=None)
    assert tuned > scratch + 12, (tuned, scratch)
