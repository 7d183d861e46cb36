"""SparK against masked dense maps, written from its description, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import OPTIMIZERS
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmpretrain.structures import DataSample
from torch import nn

from mmconvnext.datasets.masks import MaskPatches
from mmconvnext.errors import UserError
from mmconvnext.models.masking import VisiblePatches
from mmconvnext.models.sync_batch_norm import SyncBatchNorm
from mmconvnext.registry import MODELS
from tests.processes import CONTEXT
from tests.test_models.test_masking import draw_mask

V1 = dict(layer_scale_init_value=0.5)
V2 = dict(use_grn=True, layer_scale_init_value=0.0)
SMALL = dict(depths=(1, 2), channels=(8, 12))  # of stride 8
DEEP = dict(depths=(1, 1, 2), channels=(4, 6, 8), stem_patch_size=2)
# Kind, arch, image size, patch size, visible patches.
CASES = [
    (V1, SMALL, (24, 16), 8, 3),
    (V2, SMALL, (32, 48), 16, 1),
    (V1, DEEP, (24, 40), 8, 7),
    (V2, DEEP, (24, 40), 8, 7),
    (V1, DEEP | dict(stem_patch_size=1), (16, 24), 8, 2),
]


def config(kind=V1, arch=SMALL, patch_size=8, decoder_channels=16, **changes):
    backbone = dict(type='mmconvnext.ConvNeXt', arch=arch, out_indices=(), **kind) | changes
    return dict(
        type='mmconvnext.SparK', backbone=backbone, patch_size=patch_size, decoder_channels=decoder_channels
    )


def build(*args, spread=None, **changes):
    """Build a model with the initial values, or with parameters from a normal distribution."""
    torch.manual_seed(0)
    model = MODELS.build(config(*args, **changes))
    model.init_weights()
    for parameter in model.parameters() if spread else ():
        nn.init.normal_(parameter, std=spread)
    return model


def samples(masked):
    return [DataSample(mask=mask) for mask in masked]


def layer_norm(x, norm, visible):
    """LayerNorm at visible positions, zeros elsewhere."""
    x = F.layer_norm(x.movedim(1, -1), x.shape[1:2], norm.weight, norm.bias, 1e-6)
    return x.movedim(-1, 1) * visible


def dense_block(x, block, visible):
    y = F.conv2d(x, block.depthwise_conv.weight, block.depthwise_conv.bias, padding=3, groups=x.shape[1])
    y = layer_norm(y, block.norm, visible).movedim(1, -1)
    y = F.gelu(F.linear(y, block.pointwise_conv1.weight, block.pointwise_conv1.bias))
    y = y * visible.movedim(1, -1)
    if block.grn is not None:
        response = y.square().sum((1, 2), keepdim=True).sqrt()
        share = response / (response.mean(-1, keepdim=True) + 1e-6)
        y = block.grn.gamma * (y * share) + block.grn.beta + y
    y = F.linear(y, block.pointwise_conv2.weight, block.pointwise_conv2.bias)
    if block.gamma is not None:
        y = block.gamma * y
    return x + y.movedim(-1, 1) * visible


def dense_reconstruction(model, images, masked):
    """Masked dense convolutions, then norm, token and projection of every map, then the decoder."""

    def visible_at(x):
        size = x.shape[2] // masked.shape[1]
        return (~masked).repeat_interleave(size, 1).repeat_interleave(size, 2)[:, None].to(x.dtype)

    net, neck = model.backbone, model.neck
    x, states = images * visible_at(images), []
    for i, (downsample, stage) in enumerate(zip(net.downsample_layers, net.stages, strict=True)):
        convolution, norm = downsample if i == 0 else reversed(downsample)
        if i > 0:
            x = layer_norm(x, norm, visible_at(x))
        x = F.conv2d(x, convolution.weight, convolution.bias, stride=convolution.stride)
        x = x * visible_at(x)
        if i == 0:
            x = layer_norm(x, norm, visible_at(x))
        for block in stage:
            x = dense_block(x, block, visible_at(x))
        states.append(x)
    maps = []
    for x, norm, token, projection in zip(
        states[::-1][: len(neck.norms)], neck.norms, neck.mask_tokens, neck.projections, strict=True
    ):
        visible = visible_at(x)
        filled = layer_norm(x, norm, visible) + token * (1 - visible)
        if not isinstance(projection, nn.Identity):
            padding = 0 if not maps else 1
            filled = F.conv2d(filled, projection.weight, projection.bias, padding=padding)
        maps.append(filled)
    return neck.decoder(maps)


@pytest.mark.parametrize(('kind', 'arch', 'shape', 'patch_size', 'visible'), CASES)
def test_reconstruction_and_all_gradients_equal_those_of_masked_dense_maps(
    kind, arch, shape, patch_size, visible
):
    model = build(kind, arch, patch_size, spread=0.2).double()
    images = torch.randn(3, 3, *shape).double()
    masked = draw_mask(3, shape[0] // patch_size, shape[1] // patch_size, visible)
    found = model.reconstruct(images, VisiblePatches(masked))
    expected = dense_reconstruction(model, images, masked)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(found)
    parameters = dict(model.named_parameters())
    gradients = [torch.autograd.grad((y * weights).sum(), parameters.values()) for y in (found, expected)]
    for name, ours, reference in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(
            ours, reference, rtol=1e-7, atol=1e-8 * reference.abs().max().item() + 1e-10, msg=name
        )


def test_reconstruction_equals_mmpretrains_with_its_weights():
    """Of V1, whose sparse convolutions mmpretrain and the official code compute as masked dense ones."""
    theirs = MMPRETRAIN.build(
        dict(
            type='SparK',
            input_size=64,
            mask_ratio=0.6,
            enc_dec_norm_cfg=dict(type='SparseLN2d', eps=1e-6),
            enc_dec_norm_dim=64,
            backbone=dict(
                type='SparseConvNeXt',
                arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 32, 64]),
                out_indices=(0, 1, 2, 3),
                gap_before_output=False,
                layer_scale_init_value=0.5,
            ),
            neck=dict(type='SparKLightDecoder', feature_dim=64, upsample_ratio=32, norm_cfg=dict(type='BN')),
            head=dict(type='SparKPretrainHead', loss=dict(type='PixelReconstructionLoss', criterion='L2')),
        )
    )
    arch = dict(depths=(1, 1, 2, 1), channels=(8, 16, 32, 64))
    ours = build(V1, arch, 32, 64, spread=0.2)
    assert isinstance(ours.neck.projections[0], nn.Identity)
    renamed = {
        name.replace('neck.', 'enc_dec_', 1)
        .replace('enc_dec_projections', 'enc_dec_projectors')
        .replace('enc_dec_mask_tokens', 'mask_tokens')
        .replace('enc_dec_decoder', 'neck'): value
        for name, value in ours.state_dict().items()
    }
    missing, unexpected = theirs.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert all(name.startswith('backbone.norm') for name in missing)
    masked = draw_mask(2, 2, 2, 2)
    theirs.mask = lambda shape, device: ~masked[:, None]
    images = torch.randn(2, 3, 64, 64)
    expected = theirs.loss(images, samples(masked))['loss']
    found = ours.loss(images, samples(masked))['loss']
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_removed_pixels_have_no_influence():
    model, images, masked = build(spread=0.2), torch.randn(2, 3, 32, 24), draw_mask(2, 4, 3, 5)
    pixels = masked.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    others = torch.where(pixels, torch.tensor(float('nan')), images)
    visible = VisiblePatches(masked)
    model.eval()
    assert torch.equal(model.reconstruct(others, visible), model.reconstruct(images, visible))


def test_loss_is_the_mean_square_over_removed_patches_normalized_one_by_one():
    model, images, masked = build(), torch.randn(2, 3, 16, 24), draw_mask(2, 2, 3, 2)
    predicted = torch.randn(2, 3, 16, 24)
    model.reconstruct = lambda inputs, visible: predicted
    errors = []
    for n, i, j in masked.nonzero().tolist():
        place = n, slice(None), slice(8 * i, 8 * i + 8), slice(8 * j, 8 * j + 8)
        patch = images[place].double()
        target = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
        errors.append((predicted[place] - target).square().mean())
    found = model.loss(images, samples(masked))['loss']
    assert found.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-6)


@pytest.mark.parametrize(
    ('size', 'ratio', 'visible'),
    [(224, 0.6, 20), (384, 0.75, 36), (96, 0.6, 4), (160, 0.5, 12), (160, 0.58, 11), (160, 0.55, 11)],
)
def test_visible_patches_are_rounded_to_the_nearest_number(size, ratio, visible):
    """Official: round(rows * columns * (1 - mask_ratio)), where halves go to the even number."""
    results = MaskPatches(mask_ratio=ratio, nearest=True)(dict(img=torch.zeros(size, size, 3).numpy()))
    assert (~results['mask']).sum() == visible


def test_initial_values_are_the_official_ones():
    model = build(V1 | dict(layer_scale_init_value=1e-6), 'tiny', 32, 256)
    neck = model.neck
    convolution = model.backbone.stages[3][0].pointwise_conv1.weight
    assert convolution.std().item() == pytest.approx(0.02, rel=0.01)
    assert (model.backbone.stages[0][0].gamma == 1e-6).all()
    for token in neck.mask_tokens:  # cut at one standard deviation
        assert 0.015 < token.abs().max().item() <= 0.02
        assert token.std().item() == pytest.approx(0.02 * 0.5396, rel=0.25)
    for projection in neck.projections:  # torch's own
        bound = 1 / math.sqrt(projection.weight[0].numel())
        assert projection.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert projection.bias.abs().max() > 0
    for i, part in enumerate(neck.decoder.decoder):
        channels = 256 // 2**i
        up = part.upsample
        # Fan-out as torch computes it from a transposed kernel: channels in, times the kernel.
        assert up.weight.std().item() == pytest.approx(math.sqrt(2 / (channels * 16)), rel=0.1)
        assert not up.bias.any()
        convolutions = part.conv_blocks[0]
        for layer in (convolutions.conv1, convolutions.conv2):
            assert layer.bias is None
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        for norm in (convolutions.norm1, convolutions.norm2, *neck.norms):
            assert (norm.weight == 1).all()
            assert not norm.bias.any()
    assert neck.decoder.proj.weight.abs().max() < 0.1
    assert not neck.decoder.proj.bias.any()


@pytest.mark.parametrize(('kind', 'stem', 'channels'), [(V1, 2, 1), (V2, 2, 3), (V2, 1, 5)])
def test_a_batch_of_one_image_gives_every_parameter_a_gradient(kind, stem, channels):
    model = build(kind, DEEP | dict(stem_patch_size=stem), spread=0.3, in_channels=channels)
    images = torch.randn(1, channels, 24, 40)
    model.loss(images, samples(draw_mask(1, 3, 5, 6)))['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_training_with_lamb_in_bfloat16_stays_finite_and_learns():
    model = build(V1 | dict(layer_scale_init_value=1e-6))
    settings = dict(params=model.parameters(), lr=0.03, weight_decay=0.04, max_grad_norm=5.0)
    optimizer = OPTIMIZERS.build(dict(type='mmpretrain.Lamb', **settings))
    losses = []
    for _ in range(100):
        images = F.interpolate(torch.randn(8, 3, 8, 8), size=32, mode='bicubic')
        with torch.autocast('cpu', torch.bfloat16):
            loss = model.loss(images, samples(draw_mask(8, 4, 4, 6)))['loss']
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])


@pytest.mark.parametrize('stem', [1, 2, 4, 8])
def test_patches_may_be_multiples_of_any_stride_of_a_power_of_two(stem):
    arch = dict(depths=(1, 1), channels=(4, 6), stem_patch_size=stem)
    model = build(V1, arch, 4 * stem, spread=0.3)
    images, masked = torch.randn(2, 3, 8 * stem, 8 * stem), draw_mask(2, 2, 2, 1)
    assert model.reconstruct(images, VisiblePatches(masked)).shape == images.shape


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch=SMALL | dict(stem_patch_size=3), patch_size=6), 'stride 6 .* no power of 2; .* to 4'),
        (dict(decoder_channels=12), 'decoder_channels is 12; .* multiple of the stride 8, such as 192'),
        (dict(decoder_channels=0), 'decoder_channels is 0'),
        (dict(patch_size=12), 'patches of 12 pixels do not fit a backbone of stride 8'),
    ],
)
def test_a_network_that_does_not_fit_is_reported(changes, message):
    with pytest.raises(UserError, match=message):
        build(**changes)


def spread_batch_norm(rank, file):
    """Normalize half a batch in one of two processes; write outputs and gradients."""
    norm, x, weights = torch.load(file, weights_only=False)
    torch.distributed.init_process_group('gloo', f'file://{file}.store', rank=rank, world_size=2)
    half = slice(rank * 2, rank * 2 + 2)
    x = x[half].requires_grad_()
    y = norm(x)
    (y * weights[half]).sum().backward()
    gradients = [parameter.grad for parameter in norm.parameters()]
    for gradient in gradients:
        torch.distributed.all_reduce(gradient)
    torch.save([y.detach(), x.grad, gradients, norm.state_dict()], f'{file}.{rank}')


def test_batch_norm_of_two_processes_without_a_gpu_is_that_of_one(tmp_path):
    norm = SyncBatchNorm(3)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    plain = nn.BatchNorm2d(3)
    plain.load_state_dict(norm.state_dict())
    x, weights = torch.randn(4, 3, 5, 6) * 2 + 7, torch.randn(4, 3, 5, 6)
    file = str(tmp_path / 'f')
    torch.save([norm, x, weights], file)
    ranks = [CONTEXT.Process(target=spread_batch_norm, args=(rank, file)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    x.requires_grad_()
    y = plain(x)
    (y * weights).sum().backward()
    parts = [torch.load(f'{file}.{rank}') for rank in range(2)]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), y.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), x.grad, atol=1e-5, rtol=1e-4)
    for _, _, gradients, state in parts:
        torch.testing.assert_close(gradients, [p.grad for p in plain.parameters()], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(state, dict(plain.state_dict()), atol=1e-5, rtol=1e-5)
    # One process, and evaluation, need no others.
    torch.testing.assert_close(norm(x), plain(x), atol=1e-5, rtol=1e-5)
    norm.eval(), plain.eval()
    norm.load_state_dict(plain.state_dict())
    torch.testing.assert_close(norm(x), plain(x))
