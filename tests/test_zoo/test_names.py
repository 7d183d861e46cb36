"""A name means the same in every function and tool."""

import os

import pytest

from mmconvnext.config import files
from mmconvnext.errors import UserError
from mmconvnext.zoo import get_model, load_config, load_weights, names
from mmconvnext.zoo.names import find

PUBLISHED = 'convnext_tiny.fb_in1k'
RECIPE = 'convnext-v2-atto_32xb32_in1k'
BOTH = 'convnext-tiny_32xb128_in1k'


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('name', [PUBLISHED, f'mmconvnext://{PUBLISHED}'])
def test_published_name(name):
    named = find(name)
    assert (named.name, named.entry.name, named.file, named.weights) == (PUBLISHED, PUBLISHED, None, None)


@pytest.mark.parametrize('name', [RECIPE, f'{RECIPE}.py', f'configs/convnext_v2/{RECIPE}.py'])
def test_recipe_needs_no_checkout(name):
    named = find(name)
    assert named.file.name == f'{RECIPE}.py' and named.entry is named.weights is None
    assert not named.is_dense


def test_recipe_and_the_checkpoint_it_trained_share_a_name():
    named = find(BOTH)
    assert named.entry.name == named.file.stem == BOTH
    assert 'train_dataloader' in named.config


def test_file_goes_before_a_published_name_and_that_before_a_folder(tmp_path):
    (tmp_path / PUBLISHED).mkdir()
    assert find(PUBLISHED).entry is not None
    assert find(f'./{PUBLISHED}').weights == PUBLISHED
    (tmp_path / PUBLISHED).rmdir()
    (tmp_path / PUBLISHED).write_bytes(b'weights')
    assert find(PUBLISHED).weights == PUBLISHED
    assert find(f'mmconvnext://{PUBLISHED}').entry is not None


@pytest.mark.parametrize('name', ['a.pth', 'a', 'a.safetensors', 'folder', 'https://example.org/a.py'])
def test_weights(tmp_path, name):
    (tmp_path / 'folder').mkdir()
    for file in ('a.pth', 'a', 'a.safetensors'):
        (tmp_path / file).touch()
    named = find(name)
    assert named.weights == name and named.entry is named.file is None


@pytest.mark.parametrize('suffix', ['.py', '.json', '.yml', '.yaml'])
def test_config_file(tmp_path, suffix):
    (tmp_path / f'a{suffix}').write_text(
        '{"default_scope": "mmdet"}' if suffix != '.py' else 'default_scope = "mmdet"'
    )
    named = find(f'a{suffix}')
    assert named.file.name == f'a{suffix}'
    assert named.is_dense


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('convnext_tini.fb_in1k', 'model convnext_tini.fb_in1k does not exist; did you mean'),
        (f'elsewhere/{RECIPE}.py', f'model elsewhere/{RECIPE}.py does not exist'),
        ('mmconvnext://nothing', "the zoo has no 'nothing'"),
        ('s3://bucket/a.pth', 'only files, http'),
        ('pipe', 'pipe is a pipe; expected a regular file'),
        ('~nobody_of_this_name/a.pth', 'does not exist'),
        ('a\0b', 'does not exist'),
        ('a' * 5000, 'does not exist'),
        ('link', 'model link does not exist'),
    ],
)
def test_nothing_of_this_name(tmp_path, name, message):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to('nowhere')
    with pytest.raises(UserError, match=message):
        find(name)


def test_weights_are_no_config_and_a_config_holds_no_weights(tmp_path):
    (tmp_path / 'a.pth').touch()
    with pytest.raises(UserError, match='a.pth holds weights; name a config'):
        load_config('a.pth')
    with pytest.raises(UserError, match=f'{RECIPE} is a config and holds no weights'):
        load_weights(RECIPE)


def test_config_is_read_once(tmp_path, monkeypatch):
    read = []

    def read_config(file):
        read.append(file)
        return files.read_config(file)

    monkeypatch.setattr(names, 'read_config', read_config)
    (tmp_path / 'a.py').write_text(f"_base_ = '{find(RECIPE).file}'")
    named = find('a.py')
    assert not named.is_dense
    get_model(named)
    assert read == [named.file]


def test_pretraining_is_recognized_by_its_model_given_as_a_name_or_a_class(tmp_path):
    assert find('fcmae_convnext-v2-base_64xb64-1600e_in1k').is_pretraining
    assert not find('convnext-tiny_32xb128_in1k').is_pretraining
    for model, is_pretraining in (('ImageClassifier', False), ('MAE', True)):
        file = tmp_path / f'{model}.py'
        file.write_text(f'from mmpretrain.models import {model}\nmodel = dict(type={model})\n')
        assert find(file).is_pretraining == is_pretraining
