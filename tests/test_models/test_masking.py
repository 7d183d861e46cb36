"""The network on visible patches, against the definition: one position after another, in float64."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from dense_masking import dense_states

from mmconvnext.errors import UserError
from mmconvnext.models import ConvNeXt
from mmconvnext.models.masking import VisiblePatches

V1 = dict(layer_scale_init_value=0.5)
V2 = dict(use_grn=True, layer_scale_init_value=0.0)
SMALL = dict(depths=(1, 2), channels=(4, 6))  # of stride 8
DEEP = dict(depths=(1, 1, 2), channels=(4, 6, 8), stem_patch_size=2)
# Kind, arch, image size, patch size, visible patches.
CASES = [
    (V1, SMALL, (24, 16), 8, 3),
    (V2, SMALL, (24, 16), 8, 3),
    (V2, SMALL, (32, 48), 16, 1),
    (V1, DEEP, (24, 40), 8, 7),
    (V2, DEEP, (24, 40), 8, 7),
]


def build(kind, arch, **arguments):
    torch.manual_seed(0)
    net = ConvNeXt(arch, out_indices=(), **kind, **arguments)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def draw_mask(images, rows, columns, visible):
    places = torch.rand(images, rows * columns).argsort(1)[:, :visible]
    masked = torch.ones(images, rows * columns, dtype=torch.bool)
    return masked.scatter(1, places, False).view(images, rows, columns)


def erf(x):
    return np.vectorize(math.erf)(x)


class Definition:
    """The masked encoder of one image as dictionaries: position -> channels; what is not there is masked."""

    def __init__(self, net):
        self.net = net
        self.weights = {name: value.detach().double().numpy() for name, value in net.named_parameters()}

    def __call__(self, image, masked):
        size = image.shape[1] // masked.shape[0]
        pixels = {
            (y, x): image[:, y, x]
            for y, x in product(range(image.shape[1]), range(image.shape[2]))
            if not masked[y // size, x // size]
        }
        states = []
        for i, depth in enumerate(self.net.depths):
            if i:
                pixels = self.norm(pixels, f'downsample_layers.{i}.0')
            pixels = self.strided(pixels, f'downsample_layers.{i}.{int(i > 0)}')
            if not i:
                pixels = self.norm(pixels, 'downsample_layers.0.1')
            for j in range(depth):
                pixels = self.block(pixels, f'stages.{i}.{j}')
            states.append(pixels)
        return states

    def strided(self, pixels, name):
        weight, bias = self.weights[f'{name}.weight'], self.weights[f'{name}.bias']
        stride, found = weight.shape[-1], {}
        for (y, x), value in pixels.items():
            place = y // stride, x // stride
            found[place] = found.get(place, bias) + weight[:, :, y % stride, x % stride] @ value
        return found

    def norm(self, pixels, name):
        weight, bias = self.weights[f'{name}.weight'], self.weights[f'{name}.bias']
        return {
            place: (value - value.mean()) / np.sqrt(value.var() + 1e-6) * weight + bias
            for place, value in pixels.items()
        }

    def block(self, pixels, name):
        kernel, bias = (self.weights[f'{name}.depthwise_conv.{part}'] for part in ('weight', 'bias'))
        reach = kernel.shape[-1] // 2
        steps = list(product(range(-reach, reach + 1), repeat=2))
        y = {
            (row, column): bias
            + sum(
                kernel[:, 0, reach + down, reach + right] * pixels[row + down, column + right]
                for down, right in steps
                if (row + down, column + right) in pixels
            )
            for row, column in pixels
        }
        y = self.norm(y, f'{name}.norm')
        y = {place: self.linear(value, f'{name}.pointwise_conv1') for place, value in y.items()}
        y = {place: value * (1 + erf(value / np.sqrt(2))) / 2 for place, value in y.items()}
        if f'{name}.grn.gamma' in self.weights:
            gamma, beta = self.weights[f'{name}.grn.gamma'], self.weights[f'{name}.grn.beta']
            response = np.sqrt(sum(value**2 for value in y.values()))
            share = response / (response.mean() + 1e-6)
            y = {place: value + gamma * (value * share) + beta for place, value in y.items()}
        y = {place: self.linear(value, f'{name}.pointwise_conv2') for place, value in y.items()}
        scale = self.weights.get(f'{name}.gamma', 1.0)
        return {place: pixels[place] + value * scale for place, value in y.items()}

    def linear(self, x, name):
        return self.weights[f'{name}.weight'] @ x + self.weights[f'{name}.bias']


@pytest.mark.parametrize(('kind', 'arch', 'image_size', 'patch_size', 'visible'), CASES)
def test_visible_positions_equal_the_definition(kind, arch, image_size, patch_size, visible):
    net = build(kind, arch)
    images = torch.randn(2, 3, *image_size)
    masked = draw_mask(2, image_size[0] // patch_size, image_size[1] // patch_size, visible)
    patches = VisiblePatches(masked)
    maps = [patches.scatter(state).detach().numpy() for state in net(images, patches)]
    for image, mask, *found in zip(images.double().numpy(), masked.numpy(), *maps, strict=True):
        for values, expected in zip(found, Definition(net)(image, mask), strict=True):
            at_visible = {
                (y, x): values[:, y, x]
                for y, x in product(*map(range, values.shape[1:]))
                if not mask[y * len(mask) // values.shape[1], x * mask.shape[1] // values.shape[2]]
            }
            assert at_visible.keys() == expected.keys()
            largest = max(abs(value).max() for value in expected.values())
            for place, value in expected.items():
                np.testing.assert_allclose(at_visible[place], value, atol=1e-5 * largest)


@pytest.mark.parametrize(('kind', 'arch', 'image_size', 'patch_size', 'visible'), CASES)
@pytest.mark.parametrize('arguments', [{}, dict(with_cp=True), dict(linear_pw_conv=False)], ids=str)
def test_gradients_equal_those_of_whole_maps(kind, arch, image_size, patch_size, visible, arguments):
    net = build(kind, arch, **arguments).double()
    reference = build(kind, arch).double()
    images = torch.randn(3, 3, *image_size, dtype=torch.float64)
    masked = draw_mask(3, image_size[0] // patch_size, image_size[1] // patch_size, visible)
    patches = VisiblePatches(masked)
    inputs = [images.clone().requires_grad_(), images.clone().requires_grad_()]
    found = [patches.scatter(state) for state in net(inputs[0], patches)]
    expected = dense_states(reference, inputs[1], masked)
    for values, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(values, wanted)
        weight = torch.randn_like(values)
        (values * weight).sum().backward(retain_graph=True)
        (wanted * weight).sum().backward(retain_graph=True)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for (name, ours), theirs in zip(net.named_parameters(), reference.parameters(), strict=True):
        grad = ours.grad.flatten(1) if 'pointwise' in name and ours.ndim > 1 else ours.grad
        torch.testing.assert_close(grad, theirs.grad, msg=name)


@pytest.mark.parametrize('kind', [V1, V2], ids=['v1', 'v2'])
def test_fused_mlps_take_part(kind, monkeypatch):
    """They compute on the visible rows only, which changes nothing."""
    monkeypatch.setattr('mmconvnext.models.fusion.MIN_FUSED_ELEMENTS', 0)
    calls = []
    from mmconvnext.models import fusion

    fused = fusion.fused_mlp
    monkeypatch.setattr(fusion, 'fused_mlp', lambda *inputs: calls.append(inputs[1].shape) or fused(*inputs))
    net = build(kind, SMALL)
    images, masked = torch.randn(2, 3, 32, 32), draw_mask(2, 4, 4, 5)
    patches = VisiblePatches(masked)
    for state, expected in zip(net(images, patches), dense_states(net, images, masked), strict=True):
        torch.testing.assert_close(patches.scatter(state), expected, atol=1e-4, rtol=1e-4)
    assert calls == [(2, 4, 10, 2), (2, 6, 5, 1), (2, 6, 5, 1)]


@pytest.mark.parametrize('kind', [V1, V2], ids=['v1', 'v2'])
def test_with_nothing_masked_it_is_the_plain_network_to_the_last_bit(kind):
    net, images = build(kind, SMALL), torch.randn(2, 3, 24, 32)
    patches = VisiblePatches(torch.zeros(2, 3, 4, dtype=torch.bool))
    for state, expected in zip(net(images, patches), net.hidden_states(images)[1:], strict=True):
        assert torch.equal(patches.scatter(state), expected)


@pytest.mark.parametrize('kind', [V1, V2], ids=['v1', 'v2'])
def test_masked_pixels_have_no_influence(kind):
    net, masked = build(kind, DEEP), draw_mask(2, 3, 4, 5)
    patches = VisiblePatches(masked)
    images = torch.randn(2, 3, 24, 32)
    pixels = masked.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None].expand_as(images)
    others = images.masked_fill(pixels, torch.nan)
    for state, same in zip(net(images, patches), net(others, patches), strict=True):
        assert torch.equal(state, same)


def test_patches_return_to_their_places():
    masked = draw_mask(2, 3, 4, 5)
    patches = VisiblePatches(masked)
    for size in (1, 2, 3):
        x = torch.randn(2, 5, 3 * size, 4 * size)
        kept = ~masked.repeat_interleave(size, 1).repeat_interleave(size, 2)[:, None]
        gathered = patches.gather(x)
        assert gathered.shape == (2, 5, 5 * size, size)
        assert torch.equal(patches.scatter(gathered), x * kept)
        token = torch.randn(1, 5, 1, 1)
        assert torch.equal(patches.fill(gathered, token), torch.where(kept, x, token))
        first = masked[0].flatten().logical_not().nonzero()[0].item()
        row, column = first // 4 * size, first % 4 * size
        assert torch.equal(gathered[0, :, :size], x[0, :, row : row + size, column : column + size])


@pytest.mark.parametrize(
    ('arguments', 'shape', 'grid', 'message'),
    [
        (dict(stem_type='overlap'), (32, 32), (2, 2), "stem_type='patch'"),
        (dict(output_stride=8, arch=DEEP | dict(stem_patch_size=4)), (32, 32), (2, 2), 'output_stride'),
        ({}, (24, 32), (3, 2), '3 x 2 patches do not fit an image of 24 x 32 pixels'),
        ({}, (16, 16), (4, 4), 'a multiple of 8'),
        ({}, (20, 16), (2, 2), '20 x 16 pixels'),
    ],
)
def test_what_does_not_fit_is_told(arguments, shape, grid, message):
    net = ConvNeXt(**(dict(arch=SMALL, out_indices=()) | arguments))
    with pytest.raises(UserError, match=message):
        net(torch.zeros(1, 3, *shape), VisiblePatches(draw_mask(1, *grid, 1)))


def test_images_of_a_batch_keep_the_same_number():
    for masked in (torch.ones(2, 2, 2), torch.tensor([[[1, 0]], [[0, 0]]])):
        with pytest.raises(UserError, match='visible patches in an image'):
            VisiblePatches(masked.bool())
