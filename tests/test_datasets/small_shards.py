"""Read, compare and break small shards."""

import tarfile

import torch
from torch.utils.data import DataLoader

from mmconvnext.datasets import Shards

COUNT = 53  # a multiple of neither the batch size nor the number of processes
PACK = [dict(type='PackInputs')]
CROP = [dict(type='RandomCrop', crop_size=6), dict(type='RandomFlip', prob=0.5), *PACK]


def shards_of(root, *, rank=0, world_size=1, epoch=0, batches=0, **options):
    dataset = Shards(str(root), **{**dict(pipeline=CROP, batch_size=4, shuffle_buffer=5), **options})
    dataset.rank, dataset.world_size = rank, world_size
    dataset.set_position(epoch, batches)
    return dataset


def batches_of(dataset, num_workers=0):
    """Return batches as lists of (sample, image)."""
    loader = DataLoader(dataset, dataset.batch_size, num_workers=num_workers, collate_fn=list)
    return [[(s['data_samples'].sample_idx, s['inputs']) for s in batch] for batch in loader]


def numbers(batches):
    return [number for batch in batches for number, _ in batch]


def assert_same(found, expected):
    assert numbers(found) == numbers(expected)
    for batch, other in zip(found, expected, strict=True):
        for (_, image), (_, image_expected) in zip(batch, other, strict=True):
            assert torch.equal(image, image_expected)


def break_images(root, out, numbers):
    """Copy the shards and overwrite some images with zeros."""
    for file in root.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    for number in numbers:
        file = out / f'{number // 8:06d}.tar'
        content = bytearray(file.read_bytes())
        with tarfile.open(file) as tar:
            member = next(m for m in tar if m.name.startswith(f'{number:09d}') and not m.name.endswith('cls'))
        content[member.offset_data : member.offset_data + member.size] = bytes(member.size)
        file.write_bytes(content)
