"""Colors of the stages compared with the principal components of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mmconvnext.explanation import stage_maps
from mmconvnext.explanation.stage_maps import principal_colours
from mmconvnext.zoo import get_model
from tests.conftest import TINY_ARCH
from tests.peers import randomize


def test_colours_are_the_principal_components_of_every_stage():
    options = dict(backbone=dict(arch=TINY_ARCH), head=dict(in_channels=32))
    model = randomize(get_model('convnext-atto_1xb48_digits', **options))
    images = torch.randn(2, 3, 96, 64)
    pictures = stage_maps(model, images)
    with torch.no_grad():
        maps = model.eval().backbone.hidden_states(images)[1:]
    assert [picture.shape[1:] for picture in pictures] == [(3, 24, 16), (3, 12, 8), (3, 6, 4), (3, 3, 2)]
    for picture, features in zip(pictures, maps, strict=True):
        for colours, one in zip(picture.numpy(), features.numpy(), strict=True):
            pca = PCA(3).fit(one.reshape(len(one), -1).T)
            scores = pca.transform(one.reshape(len(one), -1).T).T.reshape(colours.shape)
            for found, score, weights in zip(colours, scores, pca.components_, strict=True):
                score = score * np.sign(weights[np.abs(weights).argmax()])
                expected = (score - score.min()) / np.ptp(score)
                np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(('shape', 'varying'), [((8, 1, 1), 0), ((8, 1, 2), 1), ((2, 4, 4), 2)])
def test_what_does_not_vary_is_grey(shape, varying):
    colours = principal_colours(torch.randn(shape).double())
    assert (colours[varying:] == 0.5).all()
    assert (colours[:varying].flatten(1).min(dim=1)[0] == 0).all()
    assert (principal_colours(torch.ones(5, 3, 3).double()) == 0.5).all()
