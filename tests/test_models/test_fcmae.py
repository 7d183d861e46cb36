"""FCMAE against formulas in NumPy, written from the description of the official models/fcmae.py."""

from itertools import product

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mmconvnext.errors import UserError
from mmconvnext.models import FCMAE
from mmconvnext.models.masking import VisiblePatches
from mmconvnext.registry import MODELS
from tests.test_models.test_masking import Definition, draw_mask, erf

# Of stride 4 with a stem of one pixel.
SMALL = dict(depths=(1, 1, 1), channels=(4, 6, 8), stem_patch_size=1)


def config(patch_size=8, decoder_channels=12, decoder_depth=1, **changes):
    backbone = dict(
        type='mmconvnext.ConvNeXt', arch=SMALL, use_grn=True, layer_scale_init_value=0.0, out_indices=()
    )
    return dict(
        type='mmconvnext.FCMAE',
        backbone=backbone | changes,
        patch_size=patch_size,
        decoder_channels=decoder_channels,
        decoder_depth=decoder_depth,
    )


def build(spread=None, **changes):
    """Build a model with the initial values, or with parameters from a normal distribution."""
    model = MODELS.build(config(**changes))
    model.init_weights()
    for parameter in model.parameters() if spread else ():
        torch.nn.init.normal_(parameter, std=spread)
    return model


def samples(masked):
    return [DataSample(mask=mask) for mask in masked]


class Decoder:
    """The decoder of one image in float64, one position after another."""

    def __init__(self, neck, stride):
        self.weights = {name: value.detach().double().numpy() for name, value in neck.named_parameters()}
        self.stride = stride

    def __call__(self, kept, rows, columns):
        """Turn kept positions, (row, column) -> channels, into an image (height, width, 3)."""
        token = self.weights['mask_token'][0, :, 0, 0]
        x = np.array(
            [
                [self.linear(kept[i, j], 'proj') if (i, j) in kept else token for j in range(columns)]
                for i in range(rows)
            ]
        )
        x = self.block(x, 'decoder.0')
        image = np.zeros((rows * self.stride, columns * self.stride, 3))
        for i, j in product(range(rows), range(columns)):
            values = iter(self.linear(x[i, j], 'pred'))
            for row, column, channel in product(range(self.stride), range(self.stride), range(3)):
                image[i * self.stride + row, j * self.stride + column, channel] = next(values)
        return image

    def linear(self, x, name):
        weight = self.weights[f'{name}.weight']
        return x @ weight.reshape(weight.shape[:2]).T + self.weights[f'{name}.bias']

    def block(self, x, name):
        kernel = self.weights[f'{name}.depthwise_conv.weight'][:, 0].transpose(1, 2, 0)
        padded = np.pad(x, ((3, 3), (3, 3), (0, 0)))
        y = np.zeros_like(x) + self.weights[f'{name}.depthwise_conv.bias']
        for down, right in product(range(7), range(7)):
            y += kernel[down, right] * padded[down : down + x.shape[0], right : right + x.shape[1]]
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        y = y * self.weights[f'{name}.norm.weight'] + self.weights[f'{name}.norm.bias']
        y = self.linear(y, f'{name}.pointwise_conv1')
        y = y * (1 + erf(y / np.sqrt(2))) / 2
        response = np.sqrt((y**2).sum((0, 1)))
        share = response / (response.mean() + 1e-6)
        y = self.weights[f'{name}.grn.gamma'] * (y * share) + self.weights[f'{name}.grn.beta'] + y
        return x + self.linear(y, f'{name}.pointwise_conv2')


def removed_patches(image, mask, size):
    """Yield the values of each removed patch of an image (row, column, channel), in this order."""
    for i, j in np.argwhere(mask):
        yield image[i * size : (i + 1) * size, j * size : (j + 1) * size].reshape(-1)


def normalized(patch):
    mean = patch.sum() / patch.size
    variance = ((patch - mean) ** 2).sum() / (patch.size - 1)  # unbiased
    return (patch - mean) / np.sqrt(variance + 1e-6)


@pytest.mark.parametrize(
    ('patch_size', 'shape', 'visible'), [(4, (16, 24), 9), (8, (32, 24), 5), (12, (24, 36), 1)]
)
@pytest.mark.parametrize('norm_pix', [True, False])
def test_loss_and_reconstruction_equal_the_formulas(patch_size, shape, visible, norm_pix):
    model = MODELS.build(dict(config(patch_size), norm_pix=norm_pix))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(3, 3, *shape)
    masked = draw_mask(3, shape[0] // patch_size, shape[1] // patch_size, visible)
    encoder, decoder = Definition(model.backbone), Decoder(model.neck, 4)
    predicted = [
        decoder(encoder(image, mask)[-1], shape[0] // 4, shape[1] // 4)
        for image, mask in zip(images.double().numpy(), masked.numpy(), strict=True)
    ]
    found = model.reconstruct(images, VisiblePatches(masked)).detach().movedim(1, -1).numpy()
    np.testing.assert_allclose(found, predicted, atol=1e-5 * np.abs(predicted).max())

    errors = []
    for image, mask, prediction in zip(images.double().numpy(), masked.numpy(), predicted, strict=True):
        targets = removed_patches(image.transpose(1, 2, 0), mask, patch_size)
        for patch, values in zip(targets, removed_patches(prediction, mask, patch_size), strict=True):
            target = normalized(patch) if norm_pix else patch
            errors.append(((values - target) ** 2).sum() / patch.size)
    loss = model.loss(images, samples(masked))
    assert loss.keys() == {'loss'}
    np.testing.assert_allclose(loss['loss'].item(), np.mean(errors), rtol=1e-5)


def test_loss_reads_removed_patches_only():
    """Neither the prediction of a visible patch nor the target there counts."""
    model, images, masked = build(spread=0.3), torch.randn(2, 3, 16, 16), draw_mask(2, 2, 2, 1)
    pixels = masked.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    predicted = torch.randn(2, 3, 16, 16)
    model.reconstruct = lambda inputs, visible: predicted
    loss = model.loss(images, samples(masked))['loss']
    predicted = torch.where(pixels, predicted, torch.randn(2, 3, 16, 16))
    others = torch.where(pixels, images, torch.randn(2, 3, 16, 16))
    assert torch.equal(model.loss(others, samples(masked))['loss'], loss)


def test_initial_values_are_drawn_with_002_everywhere():
    model = MODELS.build(dict(type='mmconvnext.FCMAE', backbone=config()['backbone'] | dict(arch='atto')))
    model.init_weights()
    drawn = {}
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if name.endswith('bias') or '.grn.' in name:
            assert not values.any(), name
        elif parameter.ndim == 1:
            assert 'norm' in name or 'downsample_layers' in name, name
            assert (values == 1).all(), name
        else:
            drawn[name] = values
    assert 'neck.mask_token' in drawn
    assert len(drawn) == 4 + 3 * (2 + 2 + 6 + 2) + 1 + 3 + 2
    for name, values in drawn.items():
        error = 4 / values.numel() ** 0.5  # four standard deviations of either estimate
        assert values.std().item() == pytest.approx(0.02, rel=error), name
        assert abs(values.mean().item()) < 0.02 * error, name


def test_a_batch_of_one_image_gives_every_parameter_a_gradient():
    model = build(spread=0.3)
    model.loss(torch.randn(1, 3, 16, 24), samples(draw_mask(1, 2, 3, 2)))['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_training_in_bfloat16_stays_finite():
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05)
    losses = []
    for _ in range(200):
        images = torch.nn.functional.interpolate(torch.randn(8, 3, 8, 8), size=32, mode='bicubic')
        with torch.autocast('cpu', torch.bfloat16):
            loss = model.loss(images, samples(draw_mask(8, 4, 4, 6)))['loss']
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


@pytest.mark.parametrize(
    ('backbone', 'message'),
    [
        (dict(type='mmconvnext.ConvNeXt', arch=SMALL), r'out_indices is \(2,\).* write out_indices=\(\)'),
        (dict(type='mmpretrain.ConvNeXt', arch='atto'), "write type='mmconvnext.ConvNeXt'"),
    ],
)
def test_a_backbone_with_parts_that_stay_untrained_or_cannot_be_masked_is_refused(backbone, message):
    with pytest.raises(UserError, match=message):
        FCMAE(backbone)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(arch='isotropic-small'),
            'a single stage, as isotropic ones have: choose another model.backbone',
        ),
        (dict(patch_size=6), 'patches of 6 pixels do not fit a backbone of stride 4.* a multiple of 4'),
        (dict(patch_size=0), 'model.patch_size is 0; it should be at least 1'),
        (dict(patch_size=64.0), 'model.patch_size is 64.0 of type float; expected a whole number'),
        (dict(patch_size='a'), "model.patch_size is 'a' of type str; expected a whole number"),
        (dict(decoder_channels=-4), 'model.decoder_channels is -4; it should be at least 1'),
        (dict(decoder_depth=True), 'model.decoder_depth is True of type bool; expected a whole number'),
    ],
)
def test_a_network_that_does_not_fit_is_reported(changes, message):
    with pytest.raises(UserError, match=message):
        build(**changes)


def test_missing_masks_and_masks_of_other_patches_are_reported():
    model, images = build(), torch.zeros(2, 3, 16, 16)
    some = [*samples(draw_mask(1, 2, 2, 1)), DataSample()]
    for data_samples in (None, [DataSample(), DataSample()], some):
        with pytest.raises(UserError, match='no masks in the data samples; add .*MaskPatches.* PackInputs'):
            model.loss(images, data_samples)
    with pytest.raises(UserError, match='masks have patches of 4 pixels and the model patches of 8'):
        model.loss(images, samples(draw_mask(2, 4, 4, 3)))
    with pytest.raises(UserError, match='the masks remove no patch'):
        model.loss(images, samples(draw_mask(2, 2, 2, 4)))
    with pytest.raises(UserError, match='2 x 2 patches do not fit an image of 16 x 24 pixels'):
        model.loss(torch.zeros(2, 3, 16, 24), samples(draw_mask(2, 2, 2, 1)))


def test_features_are_the_last_map_of_whole_images():
    model, images = build(spread=0.3), torch.randn(2, 3, 16, 24)
    (features,) = model.extract_feat(images)
    assert features.shape == (2, 8, 4, 6)
    nothing_removed = Definition(model.backbone)(images[0].double().numpy(), np.zeros((2, 3), bool))[-1]
    for (i, j), values in nothing_removed.items():
        np.testing.assert_allclose(features[0, :, i, j].detach(), values, atol=1e-4)
