import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from mmconvnext.datasets import Digits, MaskPatches
from mmconvnext.datasets.batches import ReplayableBatches
from mmconvnext.datasets.replay import Replayed
from mmconvnext.errors import UserError


def draw(height, width, **arguments):
    results = MaskPatches(**arguments)(dict(img=np.zeros((height, width, 3), np.uint8)))
    return results['mask']


@pytest.mark.parametrize(
    ('height', 'width', 'arguments', 'grid', 'visible'),
    [
        (224, 224, {}, (7, 7), 19),  # int(49 * (1 - 0.6)) of FCMAE
        (224, 224, dict(nearest=True), (7, 7), 20),  # round(49 * (1 - 0.6)) of SparK
        (64, 96, dict(mask_ratio=0.5), (2, 3), 3),
        (32, 16, dict(patch_size=8, mask_ratio=0.9, nearest=True), (4, 2), 1),
        (40, 32, dict(patch_size=8, mask_ratio=0.01), (5, 4), 19),
    ],
)
def test_as_many_patches_stay_visible_as_in_the_official_code(height, width, arguments, grid, visible):
    for _ in range(5):
        mask = draw(height, width, **arguments)
        assert (mask.shape, mask.dtype) == (grid, bool)
        assert (~mask).sum() == visible


@pytest.mark.parametrize(
    ('arguments', 'visible'), [(dict(mask_ratio=0.99), 0), (dict(mask_ratio=0.01, nearest=True), 20)]
)
def test_masks_of_all_patches_or_none_are_reported(arguments, visible):
    with pytest.raises(UserError, match=f'leaves {visible} of 20 patches visible in 40 x 32 pixels; choose'):
        draw(40, 32, patch_size=8, **arguments)


@pytest.mark.parametrize('ratio', [0, 1, -0.1, 1.5, float('nan'), 'a', None])
def test_a_ratio_out_of_range_is_reported(ratio):
    with pytest.raises(UserError, match='it should be above 0 and below 1'):
        MaskPatches(mask_ratio=ratio)


@pytest.mark.parametrize('size', [0, -8, 7.5, None])
def test_patches_without_a_size_are_reported(size):
    with pytest.raises(UserError, match='patch_size is .*; it should be a whole number of pixels'):
        MaskPatches(patch_size=size)


@pytest.mark.parametrize(('height', 'width'), [(224, 230), (100, 96), (16, 16)])
def test_images_that_patches_do_not_divide_are_reported(height, width):
    with pytest.raises(UserError, match=f'an image of {height} x {width}: crop it to multiples of 32'):
        draw(height, width)


def test_every_patch_and_every_pair_is_removed_equally_often():
    masks = np.array([draw(64, 96).ravel() for _ in range(6000)], float)  # 2 of 6 stay visible
    np.testing.assert_allclose(masks.mean(0), 4 / 6, atol=4 * (4 / 6 * 2 / 6 / 6000) ** 0.5)
    pairs = masks.T @ masks / len(masks)
    apart = pairs[~np.eye(6, dtype=bool)]
    np.testing.assert_allclose(apart, 4 / 6 * 3 / 5, atol=4 * (0.4 * 0.6 / 6000) ** 0.5)


def test_masks_belong_to_the_samples():
    """They depend on neither order, workers nor ranks, and differ from epoch to epoch."""
    pipeline = [
        dict(type='mmpretrain.Resize', scale=(32, 32)),
        dict(type='mmpretrain.RandomCrop', crop_size=32, padding=2),
        dict(type='mmconvnext.MaskPatches', patch_size=8),
        dict(type='mmconvnext.PackInputs'),
    ]
    dataset = Replayed(Digits('train', indices=40, pipeline=pipeline), seed=3)

    def masks(epoch, workers=0, rank=0, world=1):
        sampler = DefaultSampler(dataset, shuffle=True, seed=0)
        sampler.rank, sampler.world_size = rank, world
        sampler.num_samples = len(dataset) // world
        batches = ReplayableBatches(sampler, 6)
        batches.set_position(epoch, 0)
        loader = DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=list)
        packed = [sample['data_samples'] for batch in loader for sample in batch]
        return {sample.sample_idx: sample.mask for sample in packed}

    alone, later = masks(epoch=1), masks(epoch=2)
    together = masks(epoch=1, workers=2, world=2) | masks(epoch=1, rank=1, world=2)
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    assert sum(not torch.equal(alone[i], later[i]) for i in alone) > 35
    assert all((~mask).sum() == 6 for mask in alone.values())
