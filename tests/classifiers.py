"""A config of a tiny classifier, and images for it."""

import os

import numpy as np
import torch
from PIL import Image

from tests.conftest import TINY_ARCH

CLASSES = ('cat', 'dog', '[red]Bär[/]', 'a\x1bfish')


CONFIG = f"""
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmconvnext.ConvNeXt', arch={TINY_ARCH}),
    head=dict(type='mmconvnext.LinearClsHead', num_classes=4, in_channels=32),
)
data_preprocessor = dict(mean=[120, 110, 100], std=[60, 50, 40], to_rgb=True, num_classes=4)
test_dataloader = dict(
    batch_size=3,
    num_workers=0,
    dataset=dict(
        type='CustomDataset',
        data_root='',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=40, backend='pillow', interpolation='bicubic'),
            dict(type='CenterCrop', crop_size=32),
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_cfg = dict()
test_evaluator = dict(type='Accuracy', topk=(1,))
"""


def photo(seed=0, size=(60, 44)) -> Image.Image:
    """Return an image with smooth colors that differ in every channel and corner."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)


def photos(folder, count=5) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(folder / f'{number}.png') for number in range(count)]
    for number, path in enumerate(paths):
        photo(number, (50 + 7 * number, 40)).save(path)
    return paths


def broken_files(folder) -> dict[str, str]:
    """Write broken files; return path -> part of the expected message."""
    photo().save(folder / 'whole.jpg')
    photo().save(folder / 'whole.png')
    photo().save(folder / 'whole.bmp')
    for name in ('whole.jpg', 'whole.png', 'whole.bmp'):
        content = (folder / name).read_bytes()
        (folder / f'cut-{name}').write_bytes(content[: 3 * len(content) // 4])
        (folder / name).unlink()
    (folder / 'text.jpg').write_text('hello')
    (folder / 'empty.png').touch()
    Image.new('1', (20000, 10000)).save(folder / 'bomb.png')
    Image.new('L', (3000, 2)).save(folder / 'line.png')
    Image.fromarray(np.ones((40, 40), np.float32)).save(folder / 'float.tif')
    os.mkfifo(folder / 'pipe.png')
    reasons = {
        'cut-whole.jpg': 'truncated',
        'cut-whole.png': 'runcated',
        'cut-whole.bmp': 'truncated',
        'text.jpg': 'has 5 bytes in no supported format',
        'empty.png': 'is empty',
        'bomb.png': 'exceeds limit',
        'line.png': 'has 3000 x 2 pixels; one side is too short',
        'float.tif': 'floating point',
        'pipe.png': 'is a pipe; expected a regular file',
        'missing.png': 'there is no such file',
    }
    return {str(folder / name): reason for name, reason in reasons.items()}


def assert_same(results, expected):
    scores, wanted = ([r['pred_scores'] for r in rs] for rs in (results, expected))
    torch.testing.assert_close(
        torch.tensor(np.stack(scores)), torch.tensor(np.stack(wanted)), atol=1e-6, rtol=1e-5
    )
