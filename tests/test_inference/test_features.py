"""Features of a frozen network, against plain torch."""

import numpy as np
import pytest
import torch

from mmconvnext.datasets import Digits
from mmconvnext.errors import UserError
from mmconvnext.inference.features import extract_features, has_new_norm
from mmconvnext.registry import default_scope
from mmconvnext.zoo import get_model
from tests.conftest import write_tiny_config, write_tiny_pretraining
from tests.peers import randomize

PIPELINE = [dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]


@pytest.fixture
def digits():
    with default_scope('mmpretrain'):
        return Digits('test', pipeline=PIPELINE, indices=11)


def images_of(dataset):
    inputs = torch.stack([dataset[index]['inputs'] for index in range(len(dataset))])
    return (inputs.flip(1).float() - 127.5) / 127.5


def maps_of(backbone, x):
    for downsample, stage in zip(backbone.downsample_layers, backbone.stages, strict=True):
        x = stage(downsample(x))
    return x


@torch.no_grad()
def test_trained_norm_follows_the_pooling(tmp_path, digits):
    model = randomize(get_model(write_tiny_config(tmp_path))).eval()
    found = extract_features(model, digits, range(11), batch_size=4, title='')
    norm = model.backbone.norm3
    pooled = maps_of(model.backbone, images_of(digits)).mean((2, 3))
    expected = torch.nn.functional.layer_norm(pooled, pooled.shape[1:], norm.weight, norm.bias, 1e-6)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    assert found.labels.tolist() == [digits.get_data_info(index)['gt_label'] for index in range(11)]
    assert not found.broken


@torch.no_grad()
@pytest.mark.parametrize('make', [write_tiny_config, write_tiny_pretraining])
def test_new_norm_or_none_leaves_the_pooled_map(make, tmp_path, digits):
    model = get_model(make(tmp_path)).eval()
    found = extract_features(model, digits, [7, 2], batch_size=4, title='')
    expected = maps_of(model.backbone, images_of(digits)).mean((2, 3))[[7, 2]]
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)


def test_norm_counts_as_trained_once_it_has_moved(tmp_path):
    backbone = get_model(write_tiny_config(tmp_path)).backbone
    assert has_new_norm(backbone)
    with torch.no_grad():
        backbone.norm3.bias[3] = 1e-9
    assert not has_new_norm(backbone)
    assert not has_new_norm(torch.nn.Linear(2, 2))


def test_other_networks_of_mmpretrain_have_features(digits):
    settings = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.ResNet', depth=18),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3),
    )
    from mmengine.registry import MODELS

    with default_scope('mmpretrain'):
        model = MODELS.build(settings).eval()
    with torch.no_grad():
        expected = model.backbone(images_of(digits).flip(1))[-1].mean((2, 3))
    found = extract_features(model, digits, range(11), batch_size=11, title='')
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)


def test_images_of_several_sizes_are_taken_one_by_one(tmp_path, digits):
    model = randomize(get_model(write_tiny_config(tmp_path))).eval()
    whole = extract_features(model, digits, range(4), batch_size=1, title='').values

    class Mixed:
        def __getitem__(self, index):
            sample = digits[index]
            if index == 1:
                sample['inputs'] = sample['inputs'].repeat(1, 2, 1)
            return sample

    mixed = extract_features(model, Mixed(), range(4), batch_size=4, title='').values
    np.testing.assert_allclose(mixed[[0, 2, 3]], whole[[0, 2, 3]], rtol=1e-4, atol=1e-5)
    assert not np.allclose(mixed[1], whole[1])


def test_features_that_are_not_finite_are_refused(tmp_path, digits):
    model = get_model(write_tiny_config(tmp_path)).eval()
    model.backbone.stages[1][0].norm.weight.data.fill_(float('inf'))
    with pytest.raises(UserError, match='features that are not finite'):
        extract_features(model, digits, range(3), batch_size=4, title='')


def test_other_errors_than_broken_images_are_raised(tmp_path):
    class Failing:
        def __getitem__(self, index):
            raise RuntimeError('a mistake in a transform')

    model = get_model(write_tiny_config(tmp_path)).eval()
    with pytest.raises(RuntimeError, match='a mistake'):
        extract_features(model, Failing(), range(3), batch_size=4, title='')
