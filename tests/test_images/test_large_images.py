"""Large photos are decoded at a smaller size for a crop, which changes the time but not the result."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmconvnext.config.files import read_config
from mmconvnext.datasets import LoadImageForCrop, RandomResizedCrop
from mmconvnext.datasets.shards import reading_bytes
from mmconvnext.errors import UserError
from mmconvnext.images.reader import ImageError
from mmconvnext.paths import CONFIGS

CROP = dict(scale=64, crop_ratio_range=(0.35, 1.0))


@pytest.fixture(autouse=True)
def _all_files_are_large(monkeypatch):
    monkeypatch.setattr(LoadImageForCrop, 'MIN_BYTES', 0)


def photo(height, width):
    small = np.random.default_rng(0).integers(20, 220, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def written(folder, height, width, suffix='.jpg', **settings):
    path = folder / f'{height}x{width}{suffix}'
    Image.fromarray(photo(height, width)).save(path, **settings)
    return dict(img_path=str(path))


# The short side of the smallest box is 0.512 of the mean side: for 64 px, the image needs 125 px.
@pytest.mark.parametrize(
    ('height', 'width', 'factor'),
    [(124, 124, 1), (249, 249, 1), (251, 251, 2), (1001, 1001, 8), (500, 501, 4), (2500, 129, 2)],
)
def test_decoded_no_smaller_than_the_smallest_box_allows(tmp_path, height, width, factor):
    loaded = LoadImageForCrop(**CROP).transform(written(tmp_path, height, width))
    expected = -(-height // factor), -(-width // factor)
    assert loaded['img'].shape == (*expected, 3)
    assert loaded['img_shape'] == loaded['ori_shape'] == expected


def test_no_box_is_enlarged(tmp_path):
    crop = RandomResizedCrop(**CROP)
    sides = []
    for height, width in [(251, 251), (300, 400), (1001, 800), (260, 2000)]:
        image = LoadImageForCrop(**CROP).transform(written(tmp_path, height, width))['img']
        if image.shape[0] < height:
            sides += [min(crop.draw_box(*image.shape[:2])[2:]) for _ in range(2000)]
    assert min(sides) >= CROP['scale'] - 1


def test_crop_is_that_of_the_whole_image(tmp_path):
    """Except for the corners of the box, which are rounded to larger pixels."""
    file = written(tmp_path, 700, 900, quality=95)
    crops = []
    for image in (LoadImageForCrop(**CROP).transform(file)['img'], cv2.imread(file['img_path'])):
        random.seed(3)
        crops.append(RandomResizedCrop(**CROP).transform(dict(img=image))['img'].astype(int))
    assert np.abs(crops[0] - crops[1]).mean() < 3
    assert np.abs(crops[0] - crops[1]).max() <= 12


@pytest.mark.parametrize('other', [dict(scale=96), dict(crop_ratio_range=(0.08, 1.0))])
def test_larger_crops_than_it_was_decoded_for_are_refused(tmp_path, other):
    image = LoadImageForCrop(**CROP).transform(written(tmp_path, 300, 300))
    with pytest.raises(UserError, match='RandomResizedCrop of the pipeline the same settings'):
        RandomResizedCrop(**{**CROP, **other}).transform(image)


def test_orientation_of_the_camera_is_followed(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn clockwise
    loaded = LoadImageForCrop(**CROP).transform(written(tmp_path, 600, 300, exif=turned))
    assert loaded['img_shape'] == (75 * 2, 150 * 2)


@pytest.mark.parametrize('suffix', ['.png', '.bmp'])
def test_other_files_are_decoded_whole(tmp_path, suffix):
    file = written(tmp_path, 600, 600, suffix)
    assert np.array_equal(LoadImageForCrop(**CROP).transform(file)['img'], cv2.imread(file['img_path']))


def test_bytes_of_a_shard_are_decoded_the_same(tmp_path):
    file = written(tmp_path, 600, 600)
    encoded = Path(file['img_path']).read_bytes()
    load = LoadImageForCrop(**CROP).transform
    from_shard = load(dict(img_path='shard/1', img_bytes=encoded))
    assert np.array_equal(from_shard['img'], load(file)['img'])
    assert 'img_bytes' not in from_shard
    assert reading_bytes([dict(type='mmconvnext.LoadImageForCrop')]) == [
        dict(type='mmconvnext.LoadImageForCrop')
    ]


def test_small_files_are_not_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(LoadImageForCrop, 'MIN_BYTES', 10**6)
    assert LoadImageForCrop(**CROP).transform(written(tmp_path, 600, 600))['img_shape'] == (600, 600)


@pytest.mark.parametrize('content', [b'\xff\xd8 no jpeg', b'text'])
def test_broken_file_is_named(tmp_path, content):
    path = tmp_path / 'broken.jpg'
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f'failed to load image: {path}'):
        LoadImageForCrop(**CROP).transform(dict(img_path=str(path)))


def test_loader_and_crop_of_the_config_agree():
    pipeline = read_config(CONFIGS / '_base_/datasets/image_folder_224.py').train_pipeline
    load, crop = (dict(step) for step in pipeline[:2])
    assert load.pop('type') == 'mmconvnext.LoadImageForCrop'
    assert crop.pop('type') == 'mmconvnext.RandomResizedCrop'
    assert load == crop
