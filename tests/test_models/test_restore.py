"""Predictions with the range of values of the image."""

import pytest
import torch

from mmconvnext.models import FCMAE, SparK
from mmconvnext.models.masking import VisiblePatches
from tests.conftest import TINY_ARCH

SIZE, PATCH = 32, 8


def build(algorithm, **options):
    backbone = dict(type='mmconvnext.ConvNeXt', arch=TINY_ARCH, stem_patch_size=1, out_indices=())
    model = algorithm(backbone, patch_size=PATCH, decoder_channels=32, **options)
    model.init_weights()
    return model.eval()


@pytest.fixture
def images():
    scales = torch.tensor([0.1, 3.0])[:, None, None, None]
    return torch.randn(2, 3, SIZE, 2 * SIZE) * scales + torch.randn(2, 3, 1, 1)


@pytest.fixture
def visible():
    masked = torch.zeros(2, 4, 8, dtype=torch.bool)
    masked[0, :, ::2] = masked[1, 1:3] = True
    return VisiblePatches(masked)


@pytest.mark.parametrize('algorithm', [FCMAE, SparK])
def test_every_patch_gets_mean_and_deviation_of_its_own(algorithm, images, visible):
    model = build(algorithm)
    with torch.no_grad():
        restored, predicted = model.restore(images, visible), model.reconstruct(images, visible)
    for n in range(2):
        for top in range(0, SIZE, PATCH):
            for left in range(0, 2 * SIZE, PATCH):
                place = n, slice(None), slice(top, top + PATCH), slice(left, left + PATCH)
                patch = images[place]
                wanted = predicted[place] * torch.sqrt(patch.var(unbiased=True) + 1e-6) + patch.mean()
                torch.testing.assert_close(restored[place], wanted)


def test_a_perfect_prediction_is_the_image(images, visible, monkeypatch):
    """What the loss takes as its target, put back by the loss's own patches, is the image again."""
    model = build(FCMAE)
    target = model.head.construct_target(images)  # N, patches, (row, column, channel)
    perfect = target.unflatten(2, (PATCH, PATCH, 3)).unflatten(1, (4, 8)).permute(0, 5, 1, 3, 2, 4)
    monkeypatch.setattr(model, 'reconstruct', lambda *_: perfect.reshape(images.shape))
    torch.testing.assert_close(model.restore(images, visible), images, atol=1e-4, rtol=1e-5)


def test_predictions_of_pixels_stay_as_they_are(images, visible):
    model = build(FCMAE, norm_pix=False)
    with torch.no_grad():
        assert torch.equal(model.restore(images, visible), model.reconstruct(images, visible))
