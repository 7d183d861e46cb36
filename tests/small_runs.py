"""Image folders to train on, and runs that are refused."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError


def image_folder(root, classes=('cat', 'dog'), count=2, size=40):
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new('RGB', (size, size), (40 * i, 80, 120)).save(root / name / f'{i}.png')
    return root


def folder_options(root, **extra):
    """Return options that train the tiny network on an image folder."""
    load = dict(type='LoadImageFromFile')
    pipeline = [load, dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    dataset = dict(_delete_=True, type='CustomDataset', data_root=str(root), pipeline=pipeline)
    return {
        'train_dataloader.dataset': dataset,
        'train_dataloader.batch_size': 2,
        'val_dataloader.dataset': dict(dataset),
        'model.head.num_classes': 2,
        'val_evaluator.topk': (1,),
        'auto_scale_lr.base_batch_size': 2,
        **extra,
    }


def everything_in(folder):
    return {file: file.read_bytes() for file in Path(folder).rglob('*') if file.is_file()}


def refuse(message, config, work_dir, run=train, **kwargs):
    """Check that a run raises one UserError and leaves the work dir unchanged."""
    before = everything_in(work_dir)
    with pytest.raises(UserError, match=message):
        run(config, work_dir=str(work_dir), **kwargs)
    assert everything_in(work_dir) == before


def evaluate_run(config, *, checkpoint, **kwargs):
    return evaluate(config, checkpoint, **kwargs)


def load_weights(file):
    return torch.load(file, weights_only=False)['state_dict']
