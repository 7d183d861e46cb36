"""Runs with --augment-on-device, and the configs that it refuses."""

import signal

import pytest
import torch
from mmengine.config import Config

from mmconvnext.apis import load_config, train
from mmconvnext.errors import UserError
from mmconvnext.training.augmenting import augment_batches, keep_augmentation
from tests.signals import signalled

ENLARGE = dict(type='Resize', scale=(32, 32))
FLIP = dict(type='mmconvnext.RandomFlip')
RAND_AUGMENT = dict(type='mmconvnext.RandAugment', magnitude=9, magnitude_std=0.5)
ERASE = dict(type='mmconvnext.RandomErasing', mean=[100.0] * 3, std=[50.0] * 3)
PACK = dict(type='mmconvnext.PackInputs')


def options(*steps, **more):
    return {'train_dataloader.dataset.pipeline': [ENLARGE, *steps, PACK], **more}


def weights(config, folder, cfg_options, **kwargs):
    return train(config, work_dir=str(folder), cfg_options=cfg_options, **kwargs).model.state_dict()


def test_without_moved_pixels_a_run_is_the_same_with_and_without(tiny_config, tmp_path):
    """So all random draws are the same, and on a CPU also the noise."""
    given = options(FLIP, ERASE, **{'train_cfg.max_epochs': 1})
    plain = weights(tiny_config, tmp_path / 'plain', given, no_validate=True)
    found = weights(tiny_config, tmp_path / 'device', given, no_validate=True, augment_on_device=True)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    without = weights(
        tiny_config, tmp_path / 'none', options(**{'train_cfg.max_epochs': 1}), no_validate=True
    )
    assert not torch.equal(without['head.fc.weight'], plain['head.fc.weight'])


def test_interrupted_in_an_epoch_and_resumed_it_ends_as_the_uninterrupted_run(tiny_config, tmp_path):
    given = options(FLIP, RAND_AUGMENT, ERASE)
    given |= {'train_dataloader.num_workers': 1, 'train_cfg.max_epochs': 1}
    flags = dict(augment_on_device=True, no_validate=True)
    with pytest.raises(SystemExit):
        weights(tiny_config, tmp_path / 'w', given | signalled(signal.SIGTERM, 2), **flags)
    resumed = weights(tiny_config, tmp_path / 'w', given, resume='auto', **flags)
    whole = weights(tiny_config, tmp_path / 'whole', given, **flags)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_what_the_device_took_is_given_back_for_a_look_at_the_data():
    cfg = load_config('convnext-tiny_32xb128_in1k')
    kinds = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    augment_batches(cfg)
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] != kinds
    keep_augmentation(cfg.train_dataloader)
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == kinds


@pytest.mark.parametrize('name', ['convnext-tiny_32xb128_in1k', 'convnext-base_32xb128_in21k'])
def test_flip_rand_augment_and_erasing_of_the_recipes_wait_for_the_device(name):
    cfg = load_config(name)
    *_, flip, rand_augment, erase, _ = cfg.train_dataloader.dataset.pipeline
    augment_batches(cfg)
    load, crop, draw, pack = cfg.train_dataloader.dataset.pipeline
    assert draw.steps == cfg.data_preprocessor.steps == [flip, rand_augment, erase]
    assert 'augmentation' in pack.algorithm_keys


def test_what_comes_before_a_transform_on_single_images_stays_there(tiny_config):
    middle = dict(type='Rotate', angle=10)
    cfg = load_config(tiny_config, options(FLIP, middle, ERASE))
    augment_batches(cfg)
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == [
        *('Resize', 'mmconvnext.RandomFlip', 'Rotate', 'mmconvnext.DrawAugmentation', 'mmconvnext.PackInputs')
    ]
    assert cfg.data_preprocessor.steps == [ERASE]


def test_nothing_to_apply_on_the_device_is_said_before_anything_is_written(tiny_config, tmp_path):
    with pytest.raises(UserError, match='the last transform .* is Rotate, which works on single images'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), augment_on_device=True)
    assert not (tmp_path / 'w').exists()


def test_other_libraries_and_lists_of_images_are_refused(tiny_config):
    with pytest.raises(UserError, match='data_preprocessor .* is SegDataPreProcessor'):
        augment_batches(Config(dict(model=dict(data_preprocessor=dict(type='SegDataPreProcessor')))))
    cfg = load_config(tiny_config, {'train_dataloader.collate_fn': dict(type='pseudo_collate')})
    with pytest.raises(UserError, match='collate_fn is pseudo_collate'):
        augment_batches(cfg)


def joined(*pipelines):
    datasets = [dict(type='CustomDataset', data_root='data', pipeline=[*steps, PACK]) for steps in pipelines]
    dataset = dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=datasets))
    return Config(dict(model=dict(data_preprocessor=dict(mean=[0])), train_dataloader=dict(dataset=dataset)))


def test_the_pipelines_inside_of_wrappers_are_shortened_and_given_back():
    cfg = joined([ENLARGE, FLIP, ERASE], [FLIP, ERASE])
    before = cfg.to_dict()
    augment_batches(cfg)
    assert cfg.model.data_preprocessor.steps == [FLIP, ERASE]
    for settings in cfg.train_dataloader.dataset.dataset.datasets:
        assert settings.pipeline[-2].type == 'mmconvnext.DrawAugmentation'
    keep_augmentation(cfg.train_dataloader)
    for settings in cfg.train_dataloader.dataset.dataset.datasets:
        settings.pipeline[-1].pop('algorithm_keys')
    assert cfg.train_dataloader.to_dict() == before['train_dataloader']


def test_datasets_that_end_in_other_transforms_cannot_share_a_device():
    with pytest.raises(UserError, match='end in different transforms'):
        augment_batches(joined([FLIP, ERASE], [ERASE]))
