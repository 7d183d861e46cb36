"""The augmentation compared with mmpretrain's and with timm's, which the official code uses."""

import random

import cv2
import numpy as np
import pytest
import torch
from data_pipeline import mmpretrain_steps
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.datasets import PackInputs as TheirPackInputs
from mmpretrain.models.utils.batch_augments import CutMix, RandomBatchAugment
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from timm.data import random_erasing
from timm.data.mixup import cutmix_bbox_and_lam
from timm.data.transforms import RandomResizedCropAndInterpolation

from mmconvnext.apis import load_config
from mmconvnext.datasets import PackInputs, RandomFlip, RandomResizedCrop
from mmconvnext.datasets.augmentation import Erased
from mmconvnext.datasets.replay import Replayed

SIZES = [(375, 500), (500, 333), (40, 40), (90, 1000), (1000, 90), (3, 5), (1, 1)]  # height, width


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(height, width, seed=0):
    """Return a smooth image with an edge."""
    small = np.random.default_rng(seed).integers(20, 220, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    image[height // 3 : height // 2, width // 4 :] //= 2
    return image


@pytest.fixture(scope='module')
def steps():
    """Return the training pipeline that all ImageNet configs share."""
    return load_config('convnext-tiny_32xb128_in1k').train_dataloader.dataset.pipeline


def built(steps):
    init_default_scope('mmpretrain')
    return Compose([TRANSFORMS.build(dict(step)) for step in steps])


@pytest.mark.parametrize('size', SIZES[:-2])  # timm accepts boxes without pixels
@pytest.mark.parametrize('areas', [(0.08, 1.0), (0.35, 1.0)])
def test_boxes_of_crops_are_timms(size, areas):
    ours, image = RandomResizedCrop(224, areas), Image.new('RGB', size[::-1])
    for seed in range(100):
        random.seed(seed)
        expected = RandomResizedCropAndInterpolation.get_params(image, areas, (3 / 4, 4 / 3))
        random.seed(seed)
        assert ours.draw_box(*size) == expected


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('kind', [noise, photo])
def test_resized_crop_is_pillows_within_one_grey_level(size, kind, monkeypatch):
    """Within two gray levels for enlarged crops, which amplify the rounding between both passes."""
    image, crop = kind(*size), RandomResizedCrop(56)
    random.seed(0)
    for _ in range(5):
        top, left, height, width = box = crop.draw_box(*size)
        monkeypatch.setattr(crop, 'draw_box', lambda *_, box=box: box)
        found = crop.transform(dict(img=image))
        monkeypatch.undo()
        assert found['img_shape'] == found['img'].shape[:2] == (56, 56)
        assert found['img'].flags.c_contiguous
        cut = Image.fromarray(image[top : top + height, left : left + width])
        difference = np.abs(found['img'].astype(int) - np.asarray(cut.resize((56, 56), Image.BICUBIC)))
        assert difference.max() <= (1 if min(height, width) >= 56 else 2)
        assert difference.mean() < 0.05


def test_image_of_another_layout_is_cropped_too():
    """Uses the memory layout of mmcv's Pillow backend, where BGR is a reversed view of RGB."""
    image, crop = noise(50, 60), RandomResizedCrop(32)
    results = []
    for given in (image, np.ascontiguousarray(image[..., ::-1])[..., ::-1]):
        random.seed(0)
        results.append(crop.transform(dict(img=given))['img'])
    np.testing.assert_array_equal(*results)


def test_half_of_the_images_are_mirrored():
    random.seed(0)
    image, flip = noise(4, 6), RandomFlip()
    done = [flip.transform(dict(img=image)) for _ in range(1000)]
    for results in done:
        expected = image[:, ::-1] if results['flip'] else image
        np.testing.assert_array_equal(results['img'], expected)
        assert results['flip_direction'] == ('horizontal' if results['flip'] else None)
    assert 450 < sum(results['flip'] for results in done) < 550


@pytest.mark.parametrize('size', [(224, 224), (40, 40), (20, 60), (1, 1)])
def test_erased_boxes_are_timms_and_as_many(size, steps, monkeypatch):
    monkeypatch.setattr(random_erasing, '_get_pixels', lambda _, __, shape, **___: torch.ones(shape))
    timm = random_erasing.RandomErasing(probability=0.25, mode='pixel', max_count=1, device='cpu')
    (ours,) = built([step for step in steps if step.type == 'mmconvnext.RandomErasing']).transforms
    for seed in range(400):
        random.seed(seed)
        expected = torch.zeros(1, *size)
        timm(expected)
        random.seed(seed)
        erased = ours.draw(dict(img=np.zeros((*size, 3), np.uint8)))
        found = torch.zeros(1, *size)
        if erased is not None:
            found[:, erased.rows, erased.columns] = 1
        assert torch.equal(found, expected)


def test_erased_pixels_are_noise_of_mean_0_and_nearly_deviation_1_after_normalisation(steps):
    """The deviation is slightly smaller, because 8-bit pixels clip 3 % of the noise."""
    (ours,) = built([step for step in steps if step.type == 'mmconvnext.RandomErasing']).transforms
    black = np.zeros((220, 230, 3), np.uint8)
    erased = ours.apply(black, Erased(top=10, left=15, height=200, width=210, seed=0))
    assert not black.any()
    patch = erased[10:210, 15:225].astype(float)
    assert not np.delete(erased.reshape(-1, 3), np.arange(10 * 230, 210 * 230), axis=0).any()
    assert not erased[:, :15].any() and not erased[:, 225:].any()
    preprocessor = load_config('convnext-tiny_32xb128_in1k').data_preprocessor
    normal = (patch - preprocessor.mean[::-1]) / preprocessor.std[::-1]  # BGR
    np.testing.assert_allclose(normal.mean((0, 1)), 0, atol=0.03)
    np.testing.assert_allclose(normal.std((0, 1)), 1, atol=0.05)
    neighbours = np.corrcoef(normal[:, :-1].ravel(), normal[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_inputs_and_labels_are_packed_as_by_mmpretrain():
    image = noise(32, 48)
    results = dict(img=image, gt_label=3, sample_idx=7, img_shape=(32, 48), flip=True, flip_direction=None)
    ours, theirs = (pack.transform(dict(results)) for pack in (PackInputs(), TheirPackInputs()))
    assert ours['inputs'].is_contiguous()
    torch.testing.assert_close(ours['inputs'], theirs['inputs'], rtol=0, atol=0)
    assert ours['data_samples'].gt_label == theirs['data_samples'].gt_label
    assert ours['data_samples'].metainfo == theirs['data_samples'].metainfo


def test_images_have_the_statistics_of_those_of_mmpretrain(steps):
    """Compares the statistics of means, deviations and horizontal differences after the whole pipeline."""
    mean, std = (
        load_config('convnext-tiny_32xb128_in1k').data_preprocessor[key][::-1] for key in ('mean', 'std')
    )
    found = []
    for pipeline in (steps, mmpretrain_steps(mean, std)):
        _, crop, *rest = pipeline
        transforms = built([dict(crop, scale=32), *rest])
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        images = torch.stack(
            [transforms(dict(img=photo(48, 64, seed % 20), gt_label=0))['inputs'] for seed in range(2000)]
        ).float()
        right = images.diff(dim=-1).abs()
        found.append(torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3)), right.mean((1, 2, 3))]))
    ours, theirs = found
    error = ((ours.var(1) + theirs.var(1)) / 2000).sqrt()
    assert ((ours.mean(1) - theirs.mean(1)).abs() < 3.5 * error).all()
    torch.testing.assert_close(ours.std(1), theirs.std(1), rtol=0.1, atol=0)
    for level in (0.1, 0.25, 0.5, 0.75, 0.9):
        apart = (ours.quantile(level, dim=1) - theirs.quantile(level, dim=1)).abs()
        assert (apart < 0.2 * theirs.std(1)).all()


@pytest.mark.parametrize(
    'kind', ['grey.jpg', 'cmyk.jpg', 'palette.png', 'rgba.png', 'turned.jpg', 'tiny.png']
)
def test_any_kind_of_file_becomes_an_image(kind, steps, tmp_path):
    image = Image.fromarray(photo(1, 2) if kind == 'tiny.png' else photo(60, 80))
    modes = {'grey.jpg': 'L', 'cmyk.jpg': 'CMYK', 'palette.png': 'P', 'rgba.png': 'RGBA'}
    exif = Image.Exif()
    if kind == 'turned.jpg':
        exif[0x0112] = 6  # orientation
    image.convert(modes.get(kind, 'RGB')).save(tmp_path / kind, exif=exif)
    sample = built(steps)(dict(img_path=str(tmp_path / kind), gt_label=1))
    assert sample['inputs'].shape == (3, 224, 224) and sample['inputs'].dtype == torch.uint8
    shape = {'turned.jpg': (80, 60), 'tiny.png': (1, 2)}.get(kind, (60, 80))
    assert sample['data_samples'].ori_shape == shape
    assert sample['data_samples'].img_shape == (224, 224)


def test_augmentation_can_be_drawn_again(steps):
    class Photos(list):
        def __getitem__(self, index):
            return built(steps[1:])(dict(img=photo(48, 64, index), gt_label=0))

    photos = Replayed(Photos(range(40)), seed=5)
    with torch.random.fork_rng():
        first = [photos[index]['inputs'] for index in range(40)]
        random.seed(3), np.random.seed(3), torch.manual_seed(3)
        again = [photos[index]['inputs'] for index in reversed(range(40))][::-1]
    torch.testing.assert_close(again, first, rtol=0, atol=0)


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
