"""Images are found, read and prepared as the config says, wherever they come from."""

import shutil

import numpy as np
import pytest
from mmengine.config import Config

from mmconvnext import ImageClassificationInferencer
from mmconvnext.errors import UserError
from mmconvnext.inference.inputs import TestPipeline, find_images, read_ahead
from mmconvnext.zoo import get_model
from tests.classifiers import CONFIG, assert_same, photo, photos
from tests.peers import randomize


def test_urls(inferencer, tmp_path, monkeypatch, port):
    monkeypatch.chdir(tmp_path)
    [path] = photos(tmp_path, 1)
    shutil.copy(path, tmp_path / 'ein Bär.png')
    server = f'http://127.0.0.1:{port}'
    results = inferencer([f'{server}/0.png', f'{server}/none.png', f'{server}/ein Bär.png?size=1', path])
    assert '404' in results[1]['error']
    assert results[2]['path'] == f'{server}/ein Bär.png?size=1'
    assert_same([results[0], results[2]], [results[3]] * 2)


def test_folders_and_patterns_are_searched_in_order(tmp_path, monkeypatch):
    for name in ('b/2.PNG', 'b/1.jpg', 'a/x.webp', 'b/c/3.tiff', '.git/no.png', 'b/._1.jpg', 'b/notes.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'b/loop').symlink_to(tmp_path)
    (tmp_path / 'link').symlink_to(tmp_path / 'b')
    monkeypatch.chdir(tmp_path)

    def names(*inputs):
        return [given.path for given in find_images(list(inputs))]

    assert names('b') == ['b/1.jpg', 'b/2.PNG', 'b/c/3.tiff', 'b/loop/a/x.webp']
    assert names('link') == ['link/1.jpg', 'link/2.PNG', 'link/c/3.tiff', 'link/loop/a/x.webp']
    assert names('b/c', 'a', 'b/notes.txt') == ['b/c/3.tiff', 'a/x.webp', 'b/notes.txt']
    assert names('b/*.jpg', '?/*.webp') == ['b/1.jpg', 'a/x.webp']
    assert [given.name for given in find_images('*/**/3.tiff')] == ['b/c/3.tiff', 'link/c/3.tiff']
    (tmp_path / 'a/[1].png').touch()  # an existing file takes precedence over a pattern
    assert names('a/[1].png') == ['a/[1].png']


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ([], 'no images were given'),
        ('.', r'and its subfolders contain no images; expected \.avif'),
        ('*.jpg', r'\*\.jpg matches no file'),
        (b'no path', 'input 0 is the content of a file; give its path, or open it'),
        (memoryview(b'no path'), 'input 0 is the content of a file; give its path, or open it'),
        (3, 'input 0 is of type int; expected'),
        ([3], 'input 0 is of type int; expected a path, URL, PIL image or RGB array'),
        (np.zeros((3, 8, 8), np.uint8), r'array of uint8 and shape \(3, 8, 8\)'),
        (np.zeros((8, 8, 3), bool), 'array of bool'),
        (np.zeros((0, 8, 3), np.uint8), r'shape \(0, 8, 3\)'),
    ],
)
def test_wrong_inputs_are_told_at_once(inputs, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        find_images(inputs, channels=3)


def test_images_are_decoded_ahead_but_not_all_of_them():
    from concurrent.futures import ThreadPoolExecutor

    taken = []

    def numbers():
        for number in range(1000):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(4) as pool:
        results = read_ahead(pool, lambda number: -number, numbers(), 10)
        assert [next(results) for _ in range(3)] == [0, -1, -2]
        assert len(taken) <= 13
        assert list(results) == [-number for number in range(3, 1000)]


def test_loader_of_the_config_is_followed(files, tmp_path):
    """For arrays and PIL images, a prefix, floating point and a grayscale network make no difference."""
    loader = "dict(type='LoadImageFromFile')"
    config = tmp_path / 'grey.py'
    config.write_text(
        CONFIG.replace(loader, "dict(type='mmcv.LoadImageFromFile', color_type='grayscale', to_float32=True)")
        .replace("arch={'depths'", "in_channels=1, arch={'depths'")
        .replace('mean=[120, 110, 100], std=[60, 50, 40], to_rgb=True', 'mean=[120], std=[60]')
        .replace("backend='pillow', interpolation='bicubic'", "interpolation='bicubic'")
    )
    inferencer = ImageClassificationInferencer(randomize(get_model(config)))
    photo().save(tmp_path / 'photo.png')
    array = np.array(photo())
    from_file, *others = inferencer([tmp_path / 'photo.png', array, photo()], show_dir=tmp_path / 'shown')
    for result in others:
        np.testing.assert_allclose(result['pred_scores'], from_file['pred_scores'], atol=2e-3)


def test_arguments_of_the_loader_are_checked(files):
    cfg = Config.fromfile(files[0])
    cfg.test_dataloader.dataset.pipeline[0].update(colour_type='grayscale')
    with pytest.raises((TypeError, UserError), match='colour_type'):
        TestPipeline(cfg)


def test_an_address_that_is_none_is_named():
    with pytest.raises(UserError, match=r'http://\[ is not a URL'):
        find_images('http://[')


def test_a_panorama_is_not_resized_to_a_giant():
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='ResizeEdge', scale=2000)]))))
    pipeline = TestPipeline(cfg)
    assert pipeline.read(np.zeros((10, 80, 3), np.uint8)).shape == (10, 80, 3)
    with pytest.raises(UserError, match='has 100 x 10 pixels; one side is too short'):
        pipeline.read(np.zeros((10, 100, 3), np.uint8))
