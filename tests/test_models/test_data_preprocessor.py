"""Batches augmented by the data preprocessor, compared with images augmented by the pipeline."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, default_collate
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import TRANSFORMS

from mmconvnext.apis import load_config
from mmconvnext.datasets.rand_augment import OPERATIONS
from mmconvnext.registry import MODELS
from mmconvnext.training.augmenting import augment_batches
from tests.test_datasets.test_augmentation import photo

COUNT = 160


def batch_of(cfg):
    """Pass photos through the pipeline after loading, with seeded random draws, and collate the results."""
    init_default_scope('mmpretrain')
    _, crop, *steps = cfg.train_dataloader.dataset.pipeline
    pipeline = Compose([TRANSFORMS.build(step) for step in (dict(crop, scale=48), *steps)])
    samples = []
    for seed in range(COUNT):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        samples.append(pipeline(dict(img=photo(60, 80, seed % 20), gt_label=seed, sample_idx=seed)))
    return default_collate(samples)


@pytest.fixture(scope='module')
def both():
    """Return batch and data preprocessor, without and with augmentation on the device."""
    found = []
    for on_device in (False, True):
        cfg = load_config('convnext-tiny_32xb128_in1k')
        if on_device:
            augment_batches(cfg)
        settings = dict(type='ClsDataPreprocessor') | cfg.data_preprocessor
        found.append((batch_of(cfg), MODELS.build(settings)))
    return found


def moves(sample):
    _, operations, _ = sample.augmentation
    return any(chosen and OPERATIONS[chosen[0]].uncovers for chosen in operations)


def test_images_are_those_of_the_pipeline(both):
    """Bitwise equal if no pixels move; otherwise one gray level may differ, and what follows from it."""
    (single, plain), (drawn, augmenting) = both
    assert not torch.equal(single['inputs'], drawn['inputs'])
    expected, found = plain(single, training=True), augmenting(drawn, training=True)
    moved = torch.tensor([moves(sample) for sample in drawn['data_samples']])
    erased = torch.tensor([sample.augmentation[2] is not None for sample in drawn['data_samples']])
    assert 20 < moved.sum() < 100
    assert (erased & ~moved).sum() > 10
    assert 60 < sum(sample.flip for sample in drawn['data_samples']) < 100
    torch.testing.assert_close(found['inputs'][~moved], expected['inputs'][~moved], rtol=0, atol=0)
    apart = (found['inputs'] - expected['inputs'])[moved].abs() * plain.std  # in gray levels
    assert apart.mean((1, 2, 3)).median() < 0.002
    assert apart.mean() < 0.05
    for ours, theirs in zip(found['data_samples'], expected['data_samples'], strict=True):
        assert ours.metainfo == theirs.metainfo
        assert ours.gt_label == theirs.gt_label


def test_images_are_left_alone_in_evaluation_and_the_loaded_batch_always(both):
    drawn, augmenting = both[1]
    before = drawn['inputs'].clone()
    augmenting(drawn, training=True)
    assert torch.equal(drawn['inputs'], before)
    settings = load_config('convnext-tiny_32xb128_in1k').data_preprocessor
    expected = ClsDataPreprocessor(**settings)(drawn)['inputs']
    torch.testing.assert_close(augmenting(drawn)['inputs'], expected, rtol=0, atol=0)


def test_augmentation_of_an_image_depends_on_no_other(both):
    drawn, augmenting = both[1]
    whole = augmenting(drawn, training=True)['inputs']
    some = [5, 3, 77]
    part = dict(inputs=drawn['inputs'][some], data_samples=[drawn['data_samples'][i] for i in some])
    torch.testing.assert_close(augmenting(part, training=True)['inputs'], whole[some], rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_makes_the_same_images_but_for_the_noise(both):
    drawn, augmenting = both[1]
    expected = augmenting(drawn, training=True)['inputs']
    try:
        found = augmenting.cuda()(drawn, training=True)['inputs'].cpu()
    finally:
        augmenting.cpu()
    samples = drawn['data_samples']
    same = torch.tensor([sample.augmentation[2] is None and not moves(sample) for sample in samples])
    torch.testing.assert_close(found[same], expected[same])
