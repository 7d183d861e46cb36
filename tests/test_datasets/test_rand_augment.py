"""RandAugment draws the same operations with the same strength as timm's, which the recipe names."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment

from mmconvnext.apis import load_config
from mmconvnext.datasets import RandAugment, rand_augment

# Names of the operations of rand-m9-mstd0.5-inc1 in timm -> our functions.
NAMES = {
    'AutoContrast': 'auto_contrast',
    'Equalize': 'equalize',
    'Invert': 'invert',
    'Rotate': 'rotate',
    'PosterizeIncreasing': 'posterize',
    'SolarizeIncreasing': 'solarize',
    'SolarizeAdd': 'solarize_add',
    'ColorIncreasing': 'color',
    'ContrastIncreasing': 'contrast',
    'BrightnessIncreasing': 'brightness',
    'SharpnessIncreasing': 'sharpness',
    'ShearX': 'shear_x',
    'ShearY': 'shear_y',
    'TranslateXRel': 'translate_x',
    'TranslateYRel': 'translate_y',
}
IMAGE = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def recipe():
    """Return the RandAugment transform that all ImageNet configs share."""
    steps = load_config('convnext-tiny_32xb128_in1k').train_dataloader.dataset.pipeline
    return next(dict(step) for step in steps if step.type == 'mmconvnext.RandAugment')


@pytest.fixture
def timm():
    settings = dict(img_mean=(124, 116, 104), interpolation=Image.BICUBIC)  # the mean, rounded as in timm
    return auto_augment.rand_augment_transform('rand-m9-mstd0.5-inc1', settings)


def built(recipe):
    return RandAugment(**{key: value for key, value in recipe.items() if key != 'type'})


def test_operations_number_probability_and_strength_are_timms(recipe, timm):
    ours = built(recipe)
    assert timm.choice_weights is None  # thus drawn with replacement, like ours
    assert timm.num_layers == rand_augment.CHOSEN
    assert [operation.apply.__name__ for operation in rand_augment.OPERATIONS] == [
        NAMES[operation.name] for operation in timm.ops
    ]
    for operation in timm.ops:
        assert operation.prob == rand_augment.PROBABILITY
        assert (operation.magnitude, operation.magnitude_std) == (ours.magnitude, ours.magnitude_std)
        assert operation.kwargs == dict(fillcolor=rand_augment.FILL[::-1], resample=Image.BICUBIC)


@pytest.mark.parametrize('magnitude', [0, 1, 3.3, 7.5, 7.77, 9, 9.99, 10])
def test_arguments_are_timms_in_both_directions(timm, magnitude, monkeypatch):
    for ours, operation in zip(rand_augment.OPERATIONS, timm.ops, strict=True):
        if operation.level_fn is None:
            assert ours.argument is None
            continue
        for sign in (1, -1):
            monkeypatch.setattr(auto_augment, '_randomly_negate', lambda value, sign=sign: sign * value)
            (expected,) = operation.level_fn(magnitude, operation.hparams)
            found = ours.argument((sign if ours.signed else 1) * magnitude / 10)
            assert found == pytest.approx(expected, abs=1e-12), operation.name
        monkeypatch.undo()


def test_each_operation_is_drawn_applied_and_turned_round_as_often_as_timms(recipe, monkeypatch):
    seen, signs, strengths = Counter(), Counter(), []

    def spying(operation):
        def apply(image, *arguments):
            name = operation.apply.__name__
            seen[name] += 1
            if operation.signed:
                strength = (
                    arguments[0] - 1
                    if name in ('color', 'contrast', 'brightness', 'sharpness')
                    else arguments[0]
                )
                signs[strength > 0] += 1
            if name == 'rotate':
                strengths.append(abs(arguments[0]) / 3)
            return image

        return replace(operation, apply=apply)

    monkeypatch.setattr(rand_augment, 'OPERATIONS', tuple(map(spying, rand_augment.OPERATIONS)))
    augment, rounds = built(recipe), 15000
    random.seed(0)
    for _ in range(rounds):
        augment.transform(dict(img=IMAGE))
    mean = rounds / 15  # probability 2 / 15 to be drawn, times 0.5 to be applied
    deviation = mean**0.5
    assert set(seen) == set(NAMES.values())
    assert max(abs(count - mean) for count in seen.values()) < 4 * deviation
    assert signs[True] / signs.total() == pytest.approx(0.5, abs=0.02)
    expected = np.clip(np.random.default_rng(0).normal(9, 0.5, 100_000), 0, 10)
    assert np.mean(strengths) == pytest.approx(expected.mean(), abs=0.06)
    assert np.std(strengths) == pytest.approx(expected.std(), rel=0.1)
    assert max(strengths) == pytest.approx(10)  # clipped, where the normal distribution is not
