"""Training pipelines without their augmentation."""

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

import mmconvnext.datasets  # noqa: F401, registers the transforms
from mmconvnext.config.unaugmented import unaugmented_pipeline
from mmconvnext.errors import UserError
from mmconvnext.registry import default_scope
from mmconvnext.zoo.names import load_config


@TRANSFORMS.register_module()
class HalfAsBright(BaseTransform):
    def transform(self, results):
        return {**results, 'img': results['img'] // 2}


def config(*pipeline, channels=3):
    return Config(
        dict(
            model=dict(backbone=dict(in_channels=channels)),
            train_dataloader=dict(dataset=dict(pipeline=list(pipeline))),
            default_scope='mmpretrain',
        )
    )


def kinds(steps):
    return [step['type'].rpartition('.')[2] for step in steps]


def test_random_crop_of_pretraining_becomes_the_usual_test_pipeline():
    steps = unaugmented_pipeline(load_config('fcmae_convnext-v2-tiny_folder'))
    test = load_config('convnext-tiny_ft_folder').test_dataloader.dataset.pipeline
    assert kinds(steps) == ['LoadImageFromFile', 'ResizeEdge', 'CenterCrop', 'MaskPatches', 'PackInputs']
    with default_scope('mmpretrain'):
        ours, usual = (
            Compose([TRANSFORMS.build(dict(step)) for step in given[1:-1] if 'Mask' not in step['type']])
            for given in (steps, test)
        )
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    np.testing.assert_array_equal(ours(dict(img=image.copy()))['img'], usual(dict(img=image.copy()))['img'])


def test_augmentation_goes_and_what_prepares_images_stays():
    cfg = config(
        dict(type='LoadImageForCrop', color_type='unchanged', scale=32, crop_ratio_range=(0.5, 1.0)),
        dict(type='HalfAsBright'),
        dict(type='RandomResizedCrop', scale=(48, 64)),
        dict(type='mmconvnext.RandomFlip'),
        dict(type='RandomApply', transforms=[dict(type='ColorJitter', brightness=0.4)], prob=0.5),
        dict(type='mmconvnext.MaskPatches', patch_size=16),
        dict(type='mmconvnext.PackInputs'),
        channels=5,
    )
    steps = unaugmented_pipeline(cfg)
    assert kinds(steps) == ['LoadImageFromFile', 'HalfAsBright', 'Resize', 'MaskPatches', 'PackInputs']
    assert steps[0]['color_type'] == 'unchanged' and 'scale' not in steps[0]
    # RandomResizedCrop takes height and width, Resize width and height; Pillow cannot resize five channels.
    assert steps[2]['scale'] == (64, 48) and steps[2]['backend'] == 'cv2'


def test_a_random_crop_of_resized_images_leaves_nothing_to_crop():
    cfg = config(
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(48, 32)),
        dict(type='RandomCrop', crop_size=(32, 48), padding=2),  # height and width
        dict(type='PackInputs'),
    )
    assert kinds(unaugmented_pipeline(cfg)) == ['LoadImageFromFile', 'Resize', 'PackInputs']


def test_padding_stays():
    cfg = config(
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 40), keep_ratio=True),
        dict(type='Pad', size=(64, 64)),
        dict(type='RandomCrop', crop_size=32, padding=2),
        dict(type='PackInputs'),
    )
    steps = unaugmented_pipeline(cfg)
    assert kinds(steps) == ['LoadImageFromFile', 'Resize', 'Pad', 'CenterCrop', 'PackInputs']
    assert steps[3]['auto_pad']


def test_steps_are_copies():
    cfg = load_config('fcmae_convnext-v2-atto_1xb48_digits')
    before = cfg.pretty_text
    steps = unaugmented_pipeline(cfg)
    assert kinds(steps) == ['Resize', 'MaskPatches', 'PackInputs']
    steps[1]['mask_ratio'] = 0.1
    assert cfg.pretty_text == before


def test_config_without_training_data_is_refused():
    with pytest.raises(UserError, match='no train_dataloader.dataset.pipeline'):
        unaugmented_pipeline(Config(dict(model=dict(backbone={}))))
