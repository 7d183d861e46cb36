"""Each operation of RandAugment compared with mmpretrain's and timm's."""

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from timm.data import auto_augment

from mmconvnext.datasets import image_operations

FILL = 104, 116, 124  # BGR
PAD = dict(pad_val=list(FILL), interpolation='bicubic')
FACTORS = [-0.9, -0.37, 0, 0.5, 0.81, 0.9]  # mmpretrain's; ours and timm's are larger by 1
# Ours: type and settings in mmpretrain, name of its argument, name in timm, and values to test.
PLAIN = {
    'auto_contrast': ('AutoContrast', {}, None, 'AutoContrast', [None]),
    'equalize': ('Equalize', {}, None, 'Equalize', [None]),
    'invert': ('Invert', {}, None, 'Invert', [None]),
    'posterize': ('Posterize', {}, 'bits', 'Posterize', [0, 1, 2, 4, 8]),
    'solarize': ('Solarize', {}, 'thr', 'Solarize', [0, 1, 26, 128, 256]),
    'solarize_add': ('SolarizeAdd', {}, 'magnitude', 'SolarizeAdd', [0, 5, 99, 110]),
    'color': ('ColorTransform', {}, 'magnitude', 'Color', FACTORS),
    'contrast': ('Contrast', {}, 'magnitude', 'Contrast', FACTORS),
    'brightness': ('Brightness', {}, 'magnitude', 'Brightness', FACTORS),
    'sharpness': ('Sharpness', {}, 'magnitude', 'Sharpness', FACTORS),
}
SHEARS, SHARES = [-0.3, -0.123, 0, 0.27], [-0.45, -0.1, 0, 0.405]
MOVING = {
    'rotate': ('Rotate', PAD, 'angle', 'Rotate', [-30, -27.3, 0, 13]),
    'shear_x': ('Shear', dict(PAD, direction='horizontal'), 'magnitude', 'ShearX', SHEARS),
    'shear_y': ('Shear', dict(PAD, direction='vertical'), 'magnitude', 'ShearY', SHEARS),
    'translate_x': ('Translate', dict(PAD, direction='horizontal'), 'magnitude', 'TranslateXRel', SHARES),
    'translate_y': ('Translate', dict(PAD, direction='vertical'), 'magnitude', 'TranslateYRel', SHARES),
}
ENHANCING = ('color', 'contrast', 'brightness', 'sharpness')
CASES = [(name, value) for name, (*_, values) in {**PLAIN, **MOVING}.items() for value in values]


def smooth(height, width):
    small = np.random.default_rng(0).integers(20, 200, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def images():
    noise = np.random.default_rng(1).integers(0, 256, (67, 91, 3), dtype=np.uint8)
    flat = np.full((5, 7, 3), (7, 77, 255), np.uint8)
    return [smooth(80, 96), noise, noise // 3 + 20, flat, noise[:1], noise[:, :1].copy()]


def ours(name, image, value):
    argument = [] if value is None else [value + 1 if name in ENHANCING else value]
    return getattr(image_operations, name)(image, *argument, *([FILL] if name in MOVING else []))


def mmpretrains(name, image, value):
    init_default_scope('mmpretrain')
    kind, settings, argument, _, _ = {**PLAIN, **MOVING}[name]
    settings = dict(settings, type=kind, prob=1.0)
    if argument:
        settings[argument] = value
    if name in (*ENHANCING, *MOVING):
        settings['random_negative_prob'] = 0.0
    return TRANSFORMS.build(settings).transform(dict(img=image))['img']


def timms(name, image, value):
    if (name, value) == ('posterize', 0):  # an error in Pillow 13, black before
        return np.zeros_like(image)
    operation = {**PLAIN, **MOVING}[name][3]
    if name in MOVING:
        value = -value  # Pillow maps the result to the source
    argument = [] if value is None else [value + 1 if name in ENHANCING else value]
    rgb = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    done = auto_augment.NAME_TO_OP[operation](rgb, *argument, resample=Image.BICUBIC, fillcolor=FILL[::-1])
    return np.asarray(done)[..., ::-1]


@pytest.mark.parametrize(('name', 'value'), CASES)
def test_results_are_mmpretrains(name, value):
    """Bitwise equal, except for shears: at most 0.5 % of the values differ, by one gray level."""
    for image in images():
        before = image.copy()
        found, expected = ours(name, image, value), mmpretrains(name, image, value)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous  # OpenCV copies arrays of other layouts
        difference = np.abs(found.astype(int) - expected)
        if name.startswith(('shear', 'translate')) and cv2.__version__ > '5':
            assert difference.max() <= 1
            assert np.count_nonzero(difference) <= max(1, difference.size / 200)
        elif name.startswith(('shear', 'translate')):  # OpenCV 4 rounds coordinates to 1/32 of a pixel
            assert difference.mean() < 1
        else:
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(('name', 'value'), CASES)
def test_results_are_timms_but_for_rounding(name, value):
    """Geometric operations differ slightly, because OpenCV and Pillow have different bicubic kernels."""
    image = smooth(80, 96)
    difference = np.abs(ours(name, image, value).astype(int) - timms(name, image, value))
    assert difference.mean() < (1.5 if name in MOVING else 0.8)
    assert name in MOVING or difference.max() <= 2


@pytest.mark.parametrize(
    'name', ['auto_contrast', 'equalize', 'invert', 'posterize', 'solarize', 'solarize_add']
)
def test_what_needs_no_rounding_is_timms_to_the_bit(name):
    for value in PLAIN[name][-1]:
        for image in images():
            np.testing.assert_array_equal(ours(name, image, value), timms(name, image, value))
