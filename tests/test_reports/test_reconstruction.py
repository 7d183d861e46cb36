"""Pictures of reconstructions, against pixels computed by hand."""

import numpy as np
import pytest
import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from PIL import Image

from mmconvnext.models import FCMAE
from mmconvnext.reports.reconstruction import (
    SIDE,
    Reconstruction,
    pixels_of,
    reconstruct_sample,
    save_reconstructions,
    side_by_side,
)
from tests.conftest import TINY_ARCH

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.mark.parametrize('to_rgb', [True, False])
def test_preprocessing_is_undone(to_rgb):
    preprocessor = ClsDataPreprocessor(mean=MEAN, std=STD, to_rgb=to_rgb)
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    normalized = preprocessor(dict(inputs=images))['inputs']
    torch.testing.assert_close(pixels_of(normalized, preprocessor), images.float(), atol=1e-4, rtol=0)


def test_values_without_normalization_stay():
    images = torch.rand(1, 5, 8, 8)
    assert torch.equal(pixels_of(images, ClsDataPreprocessor()), images)


def test_visible_pixels_are_those_of_the_image_and_predictions_are_clipped():
    original = torch.randint(0, 256, (3, 8, 16), dtype=torch.uint8)  # BGR
    masked = torch.tensor([[True, False, False, True], [False, False, True, False]])
    restored = torch.rand(3, 8, 16) * 600 - 200
    first, gray, filled = side_by_side(original, masked, restored)
    bgr = original.movedim(0, -1).numpy()
    np.testing.assert_array_equal(first, bgr[..., ::-1])
    predicted = restored.movedim(0, -1).numpy().clip(0, 255).round().astype(np.uint8)[..., ::-1]
    for row in range(2):
        for column in range(4):
            place = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
            if masked[row, column]:
                assert (gray[place] == 127).all()
                np.testing.assert_array_equal(filled[place], predicted[place])
            else:
                np.testing.assert_array_equal(gray[place], first[place])
                np.testing.assert_array_equal(filled[place], first[place])


def test_images_of_other_depths_are_stretched_alike():
    original = torch.tensor([0.0, 2000.0, 4000.0, 1000.0]).repeat_interleave(4).view(1, 4, 4)
    masked = torch.tensor([[True]])
    shown, _, filled = side_by_side(original, masked, torch.full((1, 4, 4), 2000.0))
    assert shown[1, 0].tolist() == filled[0, 0].tolist() == [128] * 3
    assert shown.max() == 255 and shown.min() == 0


def test_dark_images_stay_dark():
    original = torch.zeros(3, 4, 4, dtype=torch.uint8)
    original[:, 0, 0] = 1
    shown, *_ = side_by_side(original, torch.zeros(1, 1, dtype=torch.bool), original.float())
    assert shown.max() == 1


def test_sample_is_restored_by_the_model():
    model = FCMAE(
        dict(type='mmconvnext.ConvNeXt', arch=TINY_ARCH, stem_patch_size=1, out_indices=()),
        patch_size=8,
        decoder_channels=16,
        data_preprocessor=dict(mean=MEAN, std=STD, to_rgb=True),
    )
    model.init_weights()
    model.eval()
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    sample = DataSample(mask=torch.arange(16).view(4, 4) % 3 > 0)
    row = reconstruct_sample(model, dict(inputs=pixels, data_samples=sample), 'name')
    inputs = (pixels.flip(0).float() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        restored = model.restore(inputs[None], model.visible_patches(inputs[None], [sample]))[0]
    rgb = restored * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    rgb = rgb.clamp(0, 255).round().movedim(0, -1).numpy()
    removed = sample.mask.repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()
    assert abs(row.pictures[2].astype(int) - rgb)[removed].max() <= 1  # rounding of values near a half
    assert not np.array_equal(row.pictures[2][removed], row.pictures[0][removed])


def test_picture_has_a_row_for_each_image(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        Reconstruction('a' * 300, [rng.integers(0, 256, (20, 40, 3), np.uint8) for _ in range(3)]),
        Reconstruction('$x^2$ 猫', [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(3)]),
    ]
    save_reconstructions(rows, tmp_path / 'new' / 'out.png')
    picture = np.asarray(Image.open(tmp_path / 'new' / 'out.png'))
    found = np.lib.stride_tricks.sliding_window_view(picture, (1, 160, 3))[:, :, 0, 0]
    for row in rows:
        for pixels in row.pictures:
            line = pixels[0].repeat(-(-SIDE // max(pixels.shape)), axis=0)[:160]
            assert (found == line).all((2, 3)).any()
