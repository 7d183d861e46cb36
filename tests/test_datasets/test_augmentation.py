"""The augmentation of the recipes against timm's, which the official code uses."""

import math

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpretrain.models.utils.batch_augments import CutMix, RandomBatchAugment
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from timm.data import auto_augment
from timm.data.mixup import cutmix_bbox_and_lam
from timm.data.random_erasing import RandomErasing

from mmconvnext.apis import load_config

# rand-m9-mstd0.5-inc1 by timm's names.
NAMES = {
    'AutoContrast': 'AutoContrast',
    'Equalize': 'Equalize',
    'Invert': 'Invert',
    'Rotate': 'Rotate',
    'PosterizeIncreasing': 'Posterize',
    'SolarizeIncreasing': 'Solarize',
    'SolarizeAdd': 'SolarizeAdd',
    'ColorIncreasing': 'ColorTransform',
    'ContrastIncreasing': 'Contrast',
    'BrightnessIncreasing': 'Brightness',
    'SharpnessIncreasing': 'Sharpness',
    'ShearX': 'Shear horizontal',
    'ShearY': 'Shear vertical',
    'TranslateXRel': 'Translate horizontal',
    'TranslateYRel': 'Translate vertical',
}
MOVING = ('Rotate', 'Shear', 'Translate')
MEAN = (124, 116, 104)  # ImageNet's in RGB, as timm rounds it


@pytest.fixture
def recipe():
    """Transform type to settings in the ImageNet recipes, which all share them."""
    init_default_scope('mmpretrain')
    return {
        step.type: step
        for step in load_config('convnext-tiny_32xb128_in1k').train_dataloader.dataset.pipeline
    }


@pytest.fixture
def randaugment(recipe):
    timm = auto_augment.rand_augment_transform(
        'rand-m9-mstd0.5-inc1', dict(img_mean=MEAN, interpolation=Image.BICUBIC)
    )
    return timm, TRANSFORMS.build(recipe['RandAugment'])


def test_operations_probabilities_and_strength_are_timms(randaugment):
    timm, ours = randaugment
    assert ours.num_policies == timm.num_layers == 2
    assert timm.choice_weights is None  # hence drawn with replacement, as ours
    kinds = [f'{type(t).__name__} {getattr(t, "direction", "")}'.strip() for t in ours.transforms]
    assert kinds == [NAMES[op.name] for op in timm.ops]
    for op, transform in zip(timm.ops, ours.transforms, strict=True):
        assert transform.prob == op.prob == 0.5
        if op.level_fn is not None:
            strength = transform.magnitude_level, transform.magnitude_std, transform.total_level
            assert strength == (op.magnitude, op.magnitude_std, 10) == (9, 0.5, 10)
            signed = op.name not in ('PosterizeIncreasing', 'SolarizeIncreasing', 'SolarizeAdd')
            assert transform.random_negative_prob == (0.5 if signed else 0)


@pytest.mark.parametrize('magnitude', [0, 3.3, 7.77, 9, 9.99])
def test_operations_do_to_an_image_what_timms_do(randaugment, magnitude, monkeypatch):
    """Equal but for rounding; where pixels move, OpenCV's bicubic kernel is not quite PIL's."""
    timm, ours = randaugment
    monkeypatch.setattr(auto_augment, '_randomly_negate', lambda v: v)
    small = np.random.default_rng(0).integers(20, 200, (8, 8, 3), dtype=np.uint8)
    image = cv2.resize(small, (96, 80), interpolation=cv2.INTER_CUBIC)
    for op, transform in zip(timm.ops, ours.transforms, strict=True):
        op.prob, op.magnitude, op.magnitude_std = 1, magnitude, 0
        moving = type(transform).__name__ in MOVING
        transform.prob, transform.magnitude_level, transform.magnitude_std = 1, magnitude, 0
        # PIL maps the result to the source, so that its signs are the other way round; both are as likely.
        transform.random_negative_prob = float(moving)
        expected = np.asarray(op(Image.fromarray(image))).astype(int)
        bgr = np.ascontiguousarray(image[..., ::-1])
        found = transform.transform(dict(img=bgr))['img'][..., ::-1].astype(int)
        difference = np.abs(found - expected)
        assert difference.mean() < (1.5 if moving else 0.8), op.name
        assert moving or difference.max() <= 2, op.name


def test_erasing_has_timms_probability_areas_and_shapes(recipe):
    timm = RandomErasing(probability=0.25, mode='pixel', max_count=1, device='cpu')
    ours = TRANSFORMS.build(recipe['RandomErasing'])
    assert ours.erase_prob == timm.probability
    assert (ours.min_area_ratio, ours.max_area_ratio) == (timm.min_area, timm.max_area)
    assert [math.log(ratio) for ratio in ours.aspect_range] == pytest.approx(timm.log_aspect_ratio)
    # timm fills after normalisation with noise of mean 0 and deviation 1; this is before it, in BGR.
    preprocessor = load_config('convnext-tiny_32xb128_in1k').data_preprocessor
    assert (ours.mode, ours.fill_color, ours.fill_std) == (
        'rand',
        preprocessor.mean[::-1],
        preprocessor.std[::-1],
    )


def test_erased_pixels_are_noise_of_mean_0_and_nearly_deviation_1_after_normalisation(recipe):
    """Nearly: 8-bit pixels cannot hold the 3 % of the noise that lies beyond black and white."""
    np.random.seed(0)
    ours = TRANSFORMS.build({**recipe['RandomErasing'], 'erase_prob': 1.0})
    patch = ours._fill_pixels(np.zeros((200, 200, 3), np.uint8), 0, 0, 200, 200)
    noise = (patch - np.array(ours.fill_color)) / np.array(ours.fill_std)
    np.testing.assert_allclose(noise.mean((0, 1)), 0, atol=0.03)
    np.testing.assert_allclose(noise.std((0, 1)), 1, atol=0.05)


def test_mixup_and_cutmix_take_turns_by_chance_as_with_switch_prob_one_half():
    augments = load_config('convnext-tiny_32xb128_in1k').model.train_cfg.augments
    init_default_scope('mmpretrain')
    chosen = RandomBatchAugment(augments)
    assert [type(a).__name__ for a in chosen.augments] == ['Mixup', 'CutMix']
    assert chosen.probs is None  # each of the two with 0.5


@pytest.mark.parametrize('lam', [0.05, 0.5, 0.9])
def test_cutmix_cuts_timms_boxes_and_mixes_by_their_area(lam):
    shape = 2, 3, 224, 224
    np.random.seed(3)
    box, share = cutmix_bbox_and_lam(shape, lam)
    np.random.seed(3)
    ours, our_share = CutMix(alpha=1.0).cutmix_bbox_and_lam(shape[2:], lam)
    assert tuple(map(int, ours)) == tuple(map(int, box))
    assert our_share == pytest.approx(share)
