"""An image folder, and its shards."""

import cv2
import numpy as np
import pytest

from mmconvnext.datasets.shard_writing import make_shards
from tests.test_datasets.small_shards import COUNT


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    """Create 53 different images of different file sizes in three classes and two formats."""
    root = tmp_path_factory.mktemp('images')
    noise = np.random.default_rng(0)
    for i in range(COUNT):
        file = root / ('cat', 'dog', 'eel')[i % 3] / f'{i:02d}{(".png", ".JPEG")[i % 2]}'
        file.parent.mkdir(exist_ok=True)
        height, width = noise.integers(8, 14, 2)
        cv2.imwrite(str(file), noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope='session')
def root(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp('shards') / 'train'
    make_shards(folder, root, per_shard=8)
    return root
