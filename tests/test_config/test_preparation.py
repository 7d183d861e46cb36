"""Testing a checkpoint with other preprocessing than its own is reported."""

import copy
import re
import warnings
from dataclasses import replace

import pytest
from PIL import Image

from mmconvnext.apis import evaluate, load_config, train
from mmconvnext.apis.explain import explain
from mmconvnext.checkpoints.reading import Weights
from mmconvnext.config.preparation import other_preparation
from mmconvnext.export.exporting import load_classifier as load_exported
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.inference.classifier import ImageClassificationInferencer
from mmconvnext.page.models import Model, Source
from mmconvnext.zoo.entries import zoo
from mmconvnext.zoo.models import get_model
from tests.conftest import write_tiny_config

TINY = load_config('convnext-tiny_32xb128_in1k')
OWN = Preprocessing(size=224, resize=256)


def weights(preprocessing):
    return Weights({}, 'weights.pth', 'mmconvnext', preprocessing=preprocessing)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(size=128, resize=146), 'size 224 instead of 128, resize 256 instead of 146'),
        (dict(size=(224, 192)), r'size 224 instead of \(224, 192\)'),
        (dict(resize=None), 'resize 256 instead of None'),
        (dict(interpolation='bilinear'), 'interpolation bicubic instead of bilinear'),
        (dict(std=(0.5, 0.5, 0.5)), r'std \(0.229.* instead of \(0.5'),
        (dict(backend='cv2', crop='floor'), 'crop round instead of floor, backend pillow instead of cv2'),
    ],
)
def test_every_difference_is_named(changed, message):
    assert re.search(message, other_preparation(TINY, weights(replace(OWN, **changed))))


@pytest.mark.parametrize(
    'same', [OWN, replace(OWN, mean=tuple(value + 1e-6 for value in OWN.mean)), None], ids=str
)
def test_the_same_and_the_unknown_are_silent(same):
    assert other_preparation(TINY, weights(same)) is None


FLIPS = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
PACK = [dict(type='PackInputs')]


def edge(scale):
    return dict(type='ResizeEdge', scale=scale, edge='short', backend='pillow', interpolation='bicubic')


def crop(size):
    return dict(type='CenterCrop', crop_size=size)


def with_augmentation(before, *transforms):
    cfg = copy.deepcopy(TINY)
    load = cfg.test_dataloader.dataset.pipeline[0]
    cfg.test_dataloader.dataset.pipeline = [load, *before, dict(type='TestTimeAug', transforms=transforms)]
    return cfg


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        (([edge(256), crop(224)], FLIPS, PACK), None),
        (([edge(146), crop(128)], FLIPS, PACK), 'size 128 instead of 224, resize 146 instead of 256'),
        (([], [edge(146)], [crop(128)], FLIPS, PACK), 'size 128 instead of 224, resize 146 instead of 256'),
        (([], [[edge(146), crop(128)]], FLIPS, PACK), 'size 128 instead of 224, resize 146 instead of 256'),
        (([], [edge(292), edge(320)], [crop(256)], PACK), 'size 256 instead of 224, resize 292 instead'),
        (([], [edge(256), edge(320)], [crop(224)], FLIPS, PACK), None),  # its own beside another
        (([], [dict(type='Mine')], PACK), None),  # unknown
        (([edge(146), crop(128)], [], PACK), None),  # no branch at all
    ],
)
def test_sizes_inside_of_test_time_augmentation_are_compared(pipeline, message):
    said = other_preparation(with_augmentation(*pipeline), weights(OWN))
    assert said is None if message is None else message in said


def test_published_recipes_prepare_images_as_their_weights():
    entries = [entry for entry in zoo().values() if entry.config and entry.preprocessing]
    configs = {entry.config: load_config(entry.root / entry.config) for entry in entries}
    assert len(configs) > 20
    for entry in entries:
        assert other_preparation(configs[entry.config], weights(entry.preprocessing)) is None, entry.name


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return a config for 32 px, and weights trained with it at 64 px."""
    folder = tmp_path_factory.mktemp('trained')
    config = write_tiny_config(folder)
    train(config, work_dir=str(folder / 'work'), image_size=64, cfg_options={'train_cfg.max_epochs': 1})
    return config, folder / 'work/epoch_1.pth'


@pytest.mark.parametrize(('size', 'is_other'), [(None, True), (64, False), (48, True)])
def test_test_at_another_size_says_so(trained, tmp_path, size, is_other):
    evaluate(*trained, work_dir=str(tmp_path), image_size=size)
    (log,) = tmp_path.glob('*/*.log')
    assert (f'size {size or 32} instead of 64' in log.read_text()) == is_other
    assert f'{size or 32} x {size or 32} pixels' in log.read_text()
    assert ('does not prepare images as' in log.read_text()) == is_other


def test_test_time_augmentation_says_so_too(trained, tmp_path):
    evaluate(*trained, work_dir=str(tmp_path), tta=True)
    (log,) = tmp_path.glob('*/*.log')
    assert 'size 32 instead of 64' in log.read_text()


def test_explanations_exports_and_the_page_say_so(trained, tmp_path):
    config, checkpoint = map(str, trained)
    image, picture = str(tmp_path / 'a.png'), str(tmp_path / 'b.png')
    Image.new('L', (32, 32)).save(image)
    with pytest.warns(UserWarning, match='size 32 instead of 64'):
        explain([image], model=config, checkpoint=checkpoint, out=picture)
    with pytest.warns(UserWarning, match='size 32 instead of 64'):
        load_exported(config, checkpoint, trust=False)
    with pytest.warns(UserWarning, match='size 32 instead of 64'):
        model = Model(Source('mine', config, checkpoint), 'cpu')
    assert 'size 32 instead of 64' in model.facts['Note']


def test_classifying_with_a_config_of_another_size_says_so(trained):
    config, checkpoint = trained
    with pytest.warns(UserWarning, match='size 32 instead of 64.* Leave the config out'):
        ImageClassificationInferencer(config, pretrained=checkpoint)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*does not prepare images')
        assert get_model(checkpoint).preprocessing.size == 64
