"""Predictions are those of a Runner's test, in the order of the inputs, with broken images in between."""

import csv
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from PIL import Image

import mmconvnext
from mmconvnext import ImageClassificationInferencer
from mmconvnext.apis import evaluate
from mmconvnext.apis.convert import convert
from mmconvnext.apis.infer import infer
from mmconvnext.errors import UserError
from mmconvnext.images import reader as reading_images
from mmconvnext.inference import classifier as inference
from mmconvnext.inference.inputs import TestPipeline, find_images, read_ahead
from mmconvnext.inference.results import class_layout, results_file
from mmconvnext.models.network import Network
from mmconvnext.reports.annotated import PictureFolder, annotate
from mmconvnext.zoo import get_model
from tests.conftest import REPO, TINY_ARCH
from tests.peers import randomize

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


@pytest.fixture(autouse=True)
def _no_downloads_of_others(tmp_path, monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'cache'))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return the paths of a config and a checkpoint of a tiny network with four classes."""
    folder = tmp_path_factory.mktemp('tiny')
    config, checkpoint = folder / 'tiny.py', folder / 'tiny.pth'
    config.write_text(CONFIG)
    torch.manual_seed(0)
    weights = randomize(get_model(config)).state_dict()
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=CLASSES))), checkpoint)
    return config, checkpoint


@pytest.fixture(scope='module')
def inferencer(files):
    config, checkpoint = files
    return ImageClassificationInferencer(config, checkpoint, device='cpu')


@pytest.fixture
def port():
    """Serve the working directory and return the port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


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


def exif(orientation):
    tags = Image.Exif()
    tags[0x112] = orientation
    return tags


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(photo().convert('L')).astype(np.uint16) * 256 + 7)


# File name -> function that writes the file.
KINDS = {
    'colour.jpg': lambda path: photo().save(path),
    'progressive.jpg': lambda path: photo().save(path, progressive=True),
    'turned.jpg': lambda path: photo().save(path, exif=exif(6)),
    'turned.png': lambda path: photo().save(path, exif=exif(5)),
    'grey.jpg': lambda path: photo().convert('L').save(path),
    'cmyk.jpg': lambda path: photo().convert('CMYK').save(path),
    'palette.png': lambda path: photo().quantize(16).save(path, transparency=1),
    'alpha.png': lambda path: photo().convert('LA').convert('RGBA').save(path),
    'bits.png': lambda path: photo().convert('1').save(path),
    '16.png': lambda path: sixteen_bits().save(path),
    'photo.webp': lambda path: photo().save(path),
    'photo.tif': lambda path: photo().save(path),
    'photo.gif': lambda path: photo().save(path),
    'photo.bmp': lambda path: photo().save(path),
}


def assert_same(results, expected):
    scores, wanted = ([r['pred_scores'] for r in rs] for rs in (results, expected))
    torch.testing.assert_close(
        torch.tensor(np.stack(scores)), torch.tensor(np.stack(wanted)), atol=1e-6, rtol=1e-5
    )


def test_scores_are_those_of_a_runners_test(files, inferencer, tmp_path):
    """Checks every kind of file."""
    for number, (name, save) in enumerate(KINDS.items()):
        folder = tmp_path / 'data' / 'abcd'[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        if name not in ('photo.webp', 'photo.gif'):  # mmpretrain's datasets skip them
            save(folder / name)
    options = {
        'test_dataloader.dataset.data_root': str(tmp_path / 'data'),
        'test_dataloader.dataset.classes': list('abcd'),  # no folder can have the name of one of CLASSES
    }
    evaluate(*files, cfg_options=options, out=str(tmp_path / 'pred.pkl'), work_dir=str(tmp_path / 'work'))
    expected = {p['img_path']: p['pred_score'].numpy() for p in mmengine.load(tmp_path / 'pred.pkl')}
    results = inferencer(tmp_path / 'data', batch_size=5)
    assert len(results) == len(KINDS) - 2
    assert {r['path'] for r in results} == set(expected)
    for result in results:
        np.testing.assert_allclose(result['pred_scores'], expected[result['path']], atol=1e-6)
    assert len({result['pred_scores'].tobytes() for result in results}) > 6  # not all equal


@pytest.mark.parametrize('name', KINDS)
def test_pil_image_and_array_score_like_their_file(name, inferencer, tmp_path):
    path = tmp_path / name
    KINDS[name](path)
    opened = Image.open(path)
    from_file, from_pil, again = inferencer([path, opened, opened])
    # OpenCV and Pillow differ by one step of 255 in some pixels of CMYK.
    tolerance = 2e-3 if name == 'cmyk.jpg' else 1e-6
    np.testing.assert_allclose(from_pil['pred_scores'], from_file['pred_scores'], atol=tolerance)
    assert again['pred_label'] == from_pil['pred_label']
    assert from_pil['path'] == str(path)
    if name in ('colour.jpg', 'grey.jpg'):
        array = np.array(Image.open(path))
        [from_array] = inferencer(array)
        assert_same([from_array], [from_file])
        assert from_array['path'] is None


def test_channels_matter(inferencer):
    rgb = np.array(photo())
    one, other = inferencer([rgb, rgb[..., ::-1]])
    assert np.abs(one['pred_scores'] - other['pred_scores']).max() > 1e-3


def test_results_hold_classes_best_first(inferencer, tmp_path):
    [result] = inferencer(photos(tmp_path, 1)[0], topk=3)
    scores = result['pred_scores']
    assert scores.shape == (4,)
    assert scores.sum() == pytest.approx(1)
    order = np.argsort(-scores)[:3].tolist()
    assert [best['label'] for best in result['topk']] == order
    assert [best['score'] for best in result['topk']] == pytest.approx(scores[order].tolist())
    assert [best['class'] for best in result['topk']] == [CLASSES[i] for i in order]
    assert result['pred_label'] == order[0]
    assert result['pred_score'] == pytest.approx(scores.max())
    assert result['pred_class'] == CLASSES[order[0]]
    assert len(inferencer(result['path'], topk=9)[0]['topk']) == 4


def test_batches_change_nothing(inferencer, tmp_path):
    paths = photos(tmp_path, 7)
    one_by_one = inferencer(paths, batch_size=1)
    assert [result['path'] for result in one_by_one] == paths
    for size in (2, 3, 32):
        assert_same(inferencer(paths, batch_size=size), one_by_one)


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
        'text.jpg': 'its 5 bytes are no image',
        'empty.png': 'is empty',
        'bomb.png': 'exceeds limit',
        'line.png': 'is a line of 3000 x 2 pixels',
        'float.tif': 'floating point',
        'pipe.png': 'is a pipe; expected a regular file',
        'missing.png': 'there is no such file',
    }
    return {str(folder / name): reason for name, reason in reasons.items()}


@pytest.mark.parametrize('batch_size', [1, 2, 32])
def test_broken_images_keep_their_place_and_harm_no_other(batch_size, inferencer, tmp_path):
    good, broken = photos(tmp_path / 'good'), broken_files(tmp_path)
    mixed = [good[0], *list(broken)[:4], good[1], good[2], *list(broken)[4:], good[3]]
    results = inferencer(mixed, batch_size=batch_size)
    assert [result['path'] for result in results] == mixed
    for result in results:
        if result['path'] in broken:
            assert set(result) == {'path', 'error'}
            assert broken[result['path']] in result['error']
    assert_same([result for result in results if 'error' not in result], inferencer(good[:4]))


def test_truncated_jpeg_is_told_whatever_opencv_makes_of_it(inferencer, tmp_path, monkeypatch):
    """Older versions of OpenCV fill the rest with gray."""
    monkeypatch.setattr(reading_images.cv2, 'imdecode', lambda *_, **__: np.zeros((40, 40, 3), np.uint8))
    photo().save(tmp_path / 'whole.jpg')
    content = (tmp_path / 'whole.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(content[:-40])
    (tmp_path / 'more.jpg').write_bytes(content + b'notes of a camera')
    whole, cut, more = inferencer([tmp_path / name for name in ('whole.jpg', 'cut.jpg', 'more.jpg')])
    assert 'truncated' in cut['error']
    assert 'error' not in whole.keys() | more.keys()


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
        ([], 'nothing to classify'),
        ('.', r'holds no images, nor what is below; expected \.avif'),
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


@pytest.mark.parametrize('option', ['topk', 'batch_size'])
def test_counts_are_at_least_one(option, inferencer):
    with pytest.raises(UserError, match=f'{option} is 0; it should be at least 1'):
        inferencer(np.zeros((8, 8, 3), np.uint8), **{option: 0})
    for other in ('3', 2.0, None, True):
        with pytest.raises(UserError, match=f'{option} is {other!r} of type .*expected a whole number'):
            inferencer(np.zeros((8, 8, 3), np.uint8), **{option: other})


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


def test_stream_gives_results_before_all_images_are_read(inferencer):
    read = []

    def endless():
        while True:
            read.append(None)
            yield find_images(np.array(photo()))[0]

    results = inferencer.stream(endless(), batch_size=2)
    assert 'pred_label' in next(results)
    results.close()
    assert len(read) < 50


def test_weights_without_config_are_taken_for_imagenets(files):
    with pytest.warns(UserWarning, match='does not tell how its images were prepared.*pass its config too'):
        alone = ImageClassificationInferencer(files[1], device='cpu')
    assert alone.classes == CLASSES
    [result] = alone(photo(size=(300, 280)))
    model = get_model(files[1]).eval()
    with torch.no_grad():
        logits = model(model.preprocessing(photo(size=(300, 280)))[None])
    np.testing.assert_allclose(result['pred_scores'], logits.softmax(1)[0].numpy(), atol=1e-5)


def test_built_model_stays_and_classes_can_be_named(files):
    model = get_model(*files)
    names = ('1', '2', '3', '4')
    inferencer = ImageClassificationInferencer(model, classes=list(names))
    assert inferencer.model is model
    [result] = inferencer(photo())
    assert result['pred_class'] == names[result['pred_label']]
    model._dataset_meta = {}
    assert ImageClassificationInferencer(model)(photo())[0]['pred_class'] is None


def test_name_of_the_zoo_brings_its_weights_and_class_names(tmp_path, monkeypatch, port):
    """Downloads random weights from a mirror."""
    entry = mmconvnext.get_entry('convnextv2_atto.1k_224_ema')
    mirrored = tmp_path / entry.weights.split('://')[1]
    mirrored.parent.mkdir(parents=True)
    network = get_model(entry.name)
    torch.save(dict(state_dict=network.state_dict()), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', mirrored, target_format=entry.format)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMCONVNEXT_MIRROR', f'http://127.0.0.1:{port}')
    inferencer = ImageClassificationInferencer(entry.name, device='cpu')
    [result] = inferencer(photo())
    assert result['pred_class'] == entry.class_names[result['pred_label']]
    assert len(result['pred_scores']) == 1000


class Code:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_checkpoint_that_would_run_code_is_refused(files, tmp_path):
    torch.save(dict(state_dict={}, more=Code(tmp_path / 'ran')), tmp_path / 'evil.pth')
    for arguments in ((tmp_path / 'evil.pth',), (files[0], tmp_path / 'evil.pth')):
        with pytest.raises(UserError, match='wants to call'):
            ImageClassificationInferencer(*arguments)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(model='{config}'), "the zoo has no weights of '.*tiny.py'; pass their file"),
        (dict(model='{config}', pretrained=False), 'tiny.py without weights would predict at random'),
        (dict(model='convnext_tiny.fb_in1k', pretrained=None), 'would predict at random'),
        (dict(model='convnext_tiny.fb_in1'), 'convnext_tiny.fb_in1 does not exist; did you mean'),
        (dict(model='convnextv2_atto.fcmae'), 'is for Feature Extraction: it gives features'),
        (dict(model='mmconvnext://convnextv2_atto.fcmae'), 'is for Feature Extraction'),
        (dict(model='{config}', pretrained='none.pth'), 'checkpoint none.pth does not exist'),
        (dict(model='{checkpoint}', pretrained='other.pth'), 'is a file of weights already'),
        (dict(model='{checkpoint}', device='gpu'), 'device gpu cannot be used'),
        (dict(model='{checkpoint}', classes=['cat', 'dog']), 'the model has 2 class names for 4 outputs'),
        (dict(model='{config}', pretrained='{checkpoint}', classes='abcde'), 'expected a list of names'),
        (dict(model='{checkpoint}', classes=iter('abcde')), 'the model has 5 class names for 4 outputs'),
        (dict(model='{checkpoint}', classes=[]), 'classes is .*; expected a list of 1 to'),
        (dict(model='{checkpoint}', classes=4), 'classes is 4; expected a list of names'),
        (dict(model='{checkpoint}', classes=[['a'], 'b', 'c', 'd']), 'expected names of at most'),
    ],
)
@pytest.mark.filterwarnings('ignore:.*does not tell how its images')
def test_wrong_models_are_told(arguments, message, files):
    config, checkpoint = map(str, files)
    arguments = {
        key: value.format(config=config, checkpoint=checkpoint) if isinstance(value, str) else value
        for key, value in arguments.items()
    }
    with pytest.raises(UserError, match=message):
        ImageClassificationInferencer(**arguments)


def test_models_that_cannot_classify_are_told(files, tmp_path):
    weights = torch.load(files[1])['state_dict']
    features = {name: weight for name, weight in weights.items() if name.startswith('backbone.')}
    torch.save(dict(state_dict=features), tmp_path / 'features.pth')
    with pytest.warns(UserWarning), pytest.raises(UserError, match='has no head: it gives features'):
        ImageClassificationInferencer(tmp_path / 'features.pth')
    with pytest.raises(UserError, match='Linear does not carry its config'):
        ImageClassificationInferencer(torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match='pretrained=a.pth is for names and configs'):
        ImageClassificationInferencer(get_model(*files), 'a.pth')
    config = tmp_path / 'no_test.py'
    config.write_text(CONFIG.replace('test_dataloader', 'loader'))
    with pytest.raises(UserError, match='has no test_dataloader.dataset.pipeline'):
        ImageClassificationInferencer(config, files[1])


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


def test_images_of_different_sizes_are_computed_one_by_one(files, tmp_path):
    config = tmp_path / 'free.py'
    config.write_text(CONFIG.replace("dict(type='CenterCrop', crop_size=32),", ''))
    inferencer = ImageClassificationInferencer(config, files[1])
    paths = photos(tmp_path / 'photos')
    together, single = inferencer(paths), inferencer(paths, batch_size=1)
    assert len(together) == 5
    for result, expected in zip(together, single, strict=True):
        assert result['path'] == expected['path']
        np.testing.assert_allclose(result['pred_scores'], expected['pred_scores'], atol=1e-6)


@pytest.mark.parametrize('batch_size', [1, 2, 32])
def test_an_image_that_is_too_small_harms_no_other(batch_size, files, tmp_path):
    config = tmp_path / 'free.py'
    config.write_text(re.sub(r"dict\(type='(CenterCrop|ResizeEdge)'.*\),\n", '', CONFIG))
    inferencer = ImageClassificationInferencer(config, files[1])
    small = [photo(size=size) for size in ((12, 50), (31, 31), (31, 31))]
    results = inferencer([small[0], photo(), *small[1:], photo(1)], batch_size=batch_size)
    errors = [result.get('error', '') for result in results]
    assert [error.partition(';')[0] for error in errors] == [
        'the image is 50 x 12 pixels', '', *['the image is 31 x 31 pixels'] * 2, ''
    ]  # fmt: skip
    assert_same([results[1], results[4]], inferencer([photo(), photo(1)]))


def test_what_the_network_cannot_do_is_told(files, inferencer, monkeypatch):
    model = get_model(*files)
    torch.nn.init.constant_(model.head.fc.weight, float('nan'))
    assert 'not finite' in ImageClassificationInferencer(model)(photo())[0]['error']

    def full(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(inferencer, 'forward', full)
    with pytest.raises(UserError, match='memory for 1 image at once; choose a smaller batch size'):
        inferencer(photo())


def test_images_and_networks_that_are_too_small_for_each_other_are_a_message(tmp_path):
    file = tmp_path / 'large_stem.pth'
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32), stem_patch_size=200)
    model = Network(dict(arch=arch), dict(num_classes=2)).build_on_meta().to_empty(device='cpu')
    torch.save(dict(state_dict=model.state_dict()), file)
    with pytest.warns(UserWarning, match='does not tell how'):
        inferencer = ImageClassificationInferencer(file)
    [result] = inferencer(photo())
    assert '224 x 224 pixels; this ConvNeXt needs at least 1600' in result['error']


def test_an_address_that_is_none_is_named():
    with pytest.raises(UserError, match=r'http://\[ is not a URL'):
        find_images('http://[')


def test_a_panorama_is_not_resized_to_a_giant():
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='ResizeEdge', scale=2000)]))))
    pipeline = TestPipeline(cfg)
    assert pipeline.read(np.zeros((10, 80, 3), np.uint8)).shape == (10, 80, 3)
    with pytest.raises(UserError, match='is a line of 100 x 10 pixels'):
        pipeline.read(np.zeros((10, 100, 3), np.uint8))


def test_classifiers_of_the_zoo_are_listed():
    names = ImageClassificationInferencer.list_models('atto')
    assert 'convnext_atto.d2_in1k' in names
    assert 'convnextv2_atto.fcmae' not in names


def test_pictures_show_the_image_above_its_classes(inferencer, tmp_path):
    photo(size=(900, 500)).save(tmp_path / 'large.png')
    inferencer([tmp_path / 'large.png', photo(size=(8, 8))], show_dir=tmp_path / 'shown', topk=2)
    large, small = (Image.open(tmp_path / 'shown' / name) for name in ('large.png.jpg', 'image-1.jpg'))
    assert large.width == 640
    assert large.height > 640 * 500 // 900 + 40
    assert small.width == 320
    drawn = np.asarray(large, dtype=int)
    original = np.asarray(photo(size=(900, 500)).resize((640, 356)), dtype=int)
    assert np.abs(drawn[:350] - original[:350]).mean() < 4  # in RGB, not BGR
    assert (drawn[360:] < 128).any()  # letters


class Blacken(BaseTransform):
    """Writes into the pixels that it gets."""

    def transform(self, results):
        results['img'][:] = 0
        return results


def test_pictures_show_the_image_before_transforms_that_write_into_it(files, tmp_path):
    cfg = Config.fromfile(files[0])
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type=Blacken))
    inputs, shown = TestPipeline(cfg).prepare(photo(size=(60, 44)), np.copy)
    assert not inputs['inputs'].any()
    assert np.array_equal(shown[..., ::-1], np.asarray(photo(size=(60, 44))))


def test_arguments_of_the_loader_are_checked(files):
    cfg = Config.fromfile(files[0])
    cfg.test_dataloader.dataset.pipeline[0].update(colour_type='grayscale')
    with pytest.raises((TypeError, UserError), match='colour_type'):
        TestPipeline(cfg)


def test_pictures_get_names_of_their_own(tmp_path):
    folder = PictureFolder(tmp_path / 'new')
    names = ['a.jpg', 'a.png', 'a.jpg', 'A.JPG', 'b/a.jpg', 'a-2.jpg', 'a.jpg']
    places = [folder.place(name) for name in names]
    assert [str(place.relative_to(folder.folder)) for place in places][:2] == ['a.jpg', 'a.png.jpg']
    assert len({str(place).lower() for place in places}) == len(names)
    photos(tmp_path / 'full')
    with pytest.raises(UserError, match='is there and not an empty folder'):
        PictureFolder(tmp_path / 'full')


def test_pictures_of_urls_stay_in_their_folder(tmp_path):
    [given] = find_images('http://localhost/x%2F..%2F..%2Fetc%2Fp%00asswd?q=1')
    assert given.name == 'p_asswd'
    assert find_images('http://localhost/..')[0].name == '..'
    folder = PictureFolder(tmp_path / 'new')
    assert folder.place('..').name == 'image.jpg'
    for name in ('a/../../b.jpg', '/etc/b.jpg'):
        assert (tmp_path / 'new') in folder.place(name).resolve().parents


def test_long_names_are_elided_in_pictures():
    ranked = [{'label': 0, 'score': 0.999, 'class': 'long ' * 100}] * 30
    picture = annotate(photo(), ranked)
    assert picture.width == 320
    assert picture.height < 44 + 11 * 26  # at most ten of them


# The tool.


def test_tool_writes_all_and_lists_what_is_broken(files, tmp_path):
    good = photos(tmp_path / 'photos/Bären [1]', 2)
    (tmp_path / 'photos/notes.jpg').write_text('hello')
    weird = os.fsdecode(b'photos/\xff\x1b.png')  # neither UTF-8 nor harmless
    shutil.copy(good[0], tmp_path / weird)
    config, checkpoint = map(str, files)
    command = ['photos', '--config', config, '--checkpoint', checkpoint, '--topk', '2', '--out', 'r.json']
    result = subprocess.run(
        [sys.executable, str(REPO / 'tools/infer.py'), *command, '--out-dir', 'shown'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1', 'PYTHONIOENCODING': 'ascii'},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == (
        'Error: 1 of 4 images could not be read; the others are done:\n'
        '  photos/notes.jpg: its 5 bytes are no image of a known format (JPEG, PNG, BMP, GIF, TIFF, WEBP, '
        'PPM, JPEG2000, AVIF, NPY)\n'
    )
    lines = [line for line in result.stdout.splitlines() if line.strip() and 'OneDL' not in line]
    assert sum('photos/' in line for line in lines) == 3
    assert 'mmengine' not in result.stdout
    assert 'photos/B\\xe4ren [1]/0.png' in result.stdout
    assert '\x1b' not in result.stdout
    assert lines[-2:] == ['Wrote r.json', 'Wrote 3 annotated images into shown']
    assert len(list((tmp_path / 'shown').rglob('*.jpg'))) == 3
    assert (tmp_path / 'shown/Bären [1]/1.png.jpg').is_file()

    results = json.loads((tmp_path / 'r.json').read_text(encoding='utf-8'))
    assert [r['path'] for r in results] == [
        'photos/notes.jpg',
        weird,
        *(f'photos/Bären [1]/{i}.png' for i in (0, 1)),
    ]
    assert set(results[0]) == {'path', 'error'}
    assert set(results[1]) == {'path', 'pred_label', 'pred_score', 'pred_class', 'topk'}
    assert results[1]['pred_class'] == CLASSES[results[1]['pred_label']] == results[1]['topk'][0]['class']
    assert results[1]['topk'] == results[2]['topk']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['photos', 'r.json', 'shown']


def test_csv_has_a_line_for_each_image(files, tmp_path, capsys):
    config, checkpoint = map(str, files)
    paths = photos(tmp_path / 'photos', 60)
    infer(
        [str(tmp_path / 'photos')], model=config, checkpoint=checkpoint, topk=6, out=str(tmp_path / 'r.csv')
    )
    assert 'These are the first 50 of 60 images; all are in' in capsys.readouterr().out
    with (tmp_path / 'r.csv').open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows] == sorted(paths)
    scores = [float(rows[0][f'score_{k}']) for k in (1, 2, 3, 4)]
    assert scores == sorted(scores, reverse=True)
    assert rows[0]['class_1'] == CLASSES[int(rows[0]['label_1'])]
    assert 'label_5' not in rows[0] and rows[0]['error'] == ''  # the network has four classes


@pytest.mark.parametrize(('bias', 'count'), [((3.0, -3.0, 2.0, -3.0), 2), ((-3.0,) * 4, 0)])
def test_several_labels_are_those_above_the_threshold_or_none(
    files, bias, count, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'several.py'
    config.write_text(CONFIG + "model['head']['type'] = 'MultiLabelLinearClsHead'\n")
    weights = torch.load(files[1])
    weights['state_dict']['head.fc.weight'].zero_()
    weights['state_dict']['head.fc.bias'] = torch.tensor(bias)
    checkpoint, image, out = 'several.pth', 'a.png', 'r.csv'
    torch.save(weights, checkpoint)
    photo().save(image)
    (result,) = ImageClassificationInferencer(config, checkpoint)(image)
    assert result['pred_labels'] == [0, 2][:count]
    infer([image], model=str(config), checkpoint=checkpoint, out=out)
    row = next(line for line in capsys.readouterr().out.splitlines() if 'a.png' in line)
    names = f'{CLASSES[0]}; {CLASSES[2]}' if count else 'none'
    assert re.split(r' {2,}', row.strip())[1] == names
    with Path(out).open(encoding='utf-8', newline='') as file:
        assert next(csv.DictReader(file))['pred_labels'] == ('0 2' if count else '')


def test_tool_takes_weights_alone(files, tmp_path, capsys):
    with pytest.warns(UserWarning, match='does not tell how its images were prepared'):
        infer(photos(tmp_path, 1), checkpoint=str(files[1]), batch_size=1)
    told = capsys.readouterr().out
    assert '0.png' in told
    assert '%' in told


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(out='r.txt'), r'r.txt: what is written here is .json or .csv'),
        (dict(topk=0), 'topk is 0'),
        (dict(out='there.json/r.csv'), 'there.json is a file and no folder'),
        (dict(out='there.json'), 'there.json exists already'),
        (dict(out_dir='photos'), 'photos is there and not an empty folder'),
        (dict(out_dir='there.json'), 'there.json is there and not an empty folder'),
        (dict(checkpoint=None), 'which network\\?'),
        (
            dict(checkpoint=None, model='convnext-v2-atto_32xb32_in1k'),
            'is a config, and random weights predict',
        ),
        (
            dict(checkpoint=None, model='convnext-tini_32xb128_in1k'),
            'model convnext-tini.* does not exist; did you mean',
        ),
        (dict(checkpoint='there.json'), 'there.json is a config and holds no weights'),
        (dict(), 'checkpoint none.pth does not exist'),
        (dict(checkpoint='there.pth', inputs=['typo.jpg']), 'typo.jpg does not exist; name an image'),
        (dict(checkpoint='there.pth', inputs=['empty']), 'empty holds no images'),
    ],
)
def test_tool_looks_at_everything_before_it_loads_a_model(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inference, 'get_model', None)
    photos(tmp_path / 'photos', 1)
    (tmp_path / 'empty').mkdir()
    for name in ('there.json', 'there.pth'):
        (tmp_path / name).write_text('kept')
    with pytest.raises(UserError, match=message):
        infer(**{'inputs': ['photos'], 'checkpoint': 'none.pth', **options})
    assert (tmp_path / 'there.json').read_text() == 'kept'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['empty', 'photos', 'there.json', 'there.pth']


def test_results_appear_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), results_file(tmp_path / 'r.json', class_layout(1)) as write:  # noqa: PT012
        write(dict(path='a', error='b'))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
