"""Predictions are those of a Runner's test, in the order of the inputs, with broken images in between."""

import re
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
from mmconvnext.errors import UserError
from mmconvnext.images import reader as reading_images
from mmconvnext.inference.inputs import TestPipeline, find_images
from mmconvnext.models.network import Network
from mmconvnext.zoo import get_model
from tests.classifiers import CLASSES, CONFIG, assert_same, broken_files, photo, photos


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


@pytest.mark.parametrize('option', ['topk', 'batch_size'])
def test_counts_are_at_least_one(option, inferencer):
    with pytest.raises(UserError, match=f'{option} is 0; it should be at least 1'):
        inferencer(np.zeros((8, 8, 3), np.uint8), **{option: 0})
    for other in ('3', 2.0, None, True):
        with pytest.raises(UserError, match=f'{option} is {other!r} of type .*expected a whole number'):
            inferencer(np.zeros((8, 8, 3), np.uint8), **{option: other})


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
        with pytest.raises(UserError, match='it calls'):
            ImageClassificationInferencer(*arguments)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(model='{config}'), "the zoo has no weights of '.*tiny.py'; pass their file"),
        (dict(model='{config}', pretrained=False), 'tiny.py without weights would predict at random'),
        (dict(model='convnext_tiny.fb_in1k', pretrained=None), 'would predict at random'),
        (dict(model='convnext_tiny.fb_in1'), 'convnext_tiny.fb_in1 does not exist; did you mean'),
        (
            dict(model='convnextv2_atto.fcmae'),
            r'fcmae was pre-trained without a classifier.*ConvNeXt V2 atto',
        ),
        (dict(model='mmconvnext://convnextv2_atto.fcmae'), 'fcmae was pre-trained without a classifier'),
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
    with pytest.raises(
        UserError, match=r'features.pth was pre-trained without a classifier: it gives features'
    ):
        ImageClassificationInferencer(tmp_path / 'features.pth')
    with pytest.raises(UserError, match='Linear does not carry its config'):
        ImageClassificationInferencer(torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match='pretrained=a.pth is for names and configs'):
        ImageClassificationInferencer(get_model(*files), 'a.pth')
    config = tmp_path / 'no_test.py'
    config.write_text(CONFIG.replace('test_dataloader', 'loader'))
    with pytest.raises(UserError, match='has no test_dataloader.dataset.pipeline'):
        ImageClassificationInferencer(config, files[1])


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
