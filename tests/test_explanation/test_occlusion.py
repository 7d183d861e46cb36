"""Occlusion compared with an explicit loop, and for a model that looks at one corner only."""

import pytest
import torch
from torch import nn

from mmconvnext.errors import UserError
from mmconvnext.explanation import occlusion
from mmconvnext.zoo import get_model
from tests.conftest import TINY_ARCH
from tests.peers import randomize


@pytest.fixture
def model():
    options = dict(backbone=dict(arch=TINY_ARCH), head=dict(num_classes=10, in_channels=32))
    return randomize(get_model('convnext-atto_1xb48_digits', **options)).eval()


def test_drop_is_that_of_a_loop_over_places_and_pixels(model):
    images, classes = torch.randn(2, 3, 32, 44), torch.tensor([3, 8])
    found = occlusion(model, images, classes, patch=12, stride=8, batch_size=5)
    with torch.no_grad():
        for image, label, heat in zip(images, classes, found, strict=True):
            before = model.head(model.extract_feat(image[None])).softmax(dim=1)[0, label]
            drops = {}
            for top in (0, 8, 16, 20):
                for left in (0, 8, 16, 24, 32):
                    hidden = image.clone()
                    hidden[:, top : top + 12, left : left + 12] = 0
                    after = model.head(model.extract_feat(hidden[None])).softmax(dim=1)[0, label]
                    drops[top, left] = before - after
            for y, x in ((0, 0), (9, 13), (31, 43), (20, 20), (12, 8)):
                covering = [d for (t, le), d in drops.items() if t <= y < t + 12 and le <= x < le + 12]
                torch.testing.assert_close(heat[y, x], sum(covering) / len(covering), atol=1e-5, rtol=1e-3)
            assert max(drops.values()) > 1e-3  # the comparison is not empty


class LooksAtCorner(nn.Module):
    """A backbone whose features are the brightness of the upper left 8 x 8 pixels."""

    def forward(self, x):
        return (x[:, :, :8, :8].mean(dim=(2, 3)),)

    hidden_states = None


def test_model_that_looks_at_one_corner_is_explained_by_that_corner(model):
    model.backbone = LooksAtCorner()
    model.head.fc = nn.Linear(3, 2)
    nn.init.zeros_(model.head.fc.bias)
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.tensor([[1.0] * 3, [-1.0] * 3]))
    heat = occlusion(model, torch.ones(1, 3, 32, 32), patch=8, stride=8)[0]
    corner = torch.zeros(32, 32, dtype=torch.bool)
    corner[:8, :8] = True
    torch.testing.assert_close(heat[corner], torch.tensor(6.0).sigmoid().expand(64) - 0.5)
    assert (heat[~corner] == 0).all()
    against = occlusion(model, torch.ones(1, 3, 32, 32), torch.tensor([1]), patch=8, stride=8)[0]
    torch.testing.assert_close(against, -heat)


def test_patches_that_do_not_fit_are_refused(model):
    images = torch.randn(1, 3, 32, 48)
    for options in (dict(patch=33), dict(patch=8, stride=9), dict(patch=0), dict(stride=0)):
        with pytest.raises(UserError, match='expected 1 <= stride <= patch <= 32'):
            occlusion(model, images, **options)
    with pytest.raises(UserError, match='from 0 to 9'):
        occlusion(model, images, torch.tensor([10]))


def test_model_and_images_are_left_as_they_were(model):
    images = torch.randn(1, 3, 32, 32)
    expected = occlusion(model, images, torch.tensor([2]))
    before = images.clone()
    model.train()
    torch.testing.assert_close(occlusion(model, images, torch.tensor([2])), expected)
    assert model.training
    assert torch.equal(images, before)
    assert not expected.requires_grad


def test_one_output_is_no_probability():
    model = get_model(
        'convnext-atto_1xb48_digits', backbone=dict(arch=TINY_ARCH), head=dict(num_classes=1, in_channels=32)
    )
    with pytest.raises(UserError, match='no probability'):
        occlusion(model, torch.randn(1, 3, 32, 32))
