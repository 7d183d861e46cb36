"""Equal weights give equal logits, losses and gradients in independent implementations."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.convnext import ConvNeXt as MMPretrainConvNeXt
from torch import nn

from mmconvnext.models import ARCHS, ConvNeXt
from tests import peers
from tests.conftest import TINY_ARCH

V2 = dict(use_grn=True, layer_scale_init_value=0.0)
LAYOUTS = [torch.contiguous_format, torch.channels_last]
SIZES = [(64, 64), (97, 61)]


def assert_same(ours, theirs, rules, images):
    """Load weights of a peer into our network and compare logits, cross entropy and every gradient."""
    like = ours.state_dict()
    ours.load_state_dict(peers.in_our_names(theirs.state_dict(), rules, like), strict=True)
    logits = [getattr(output, 'logits', output) for output in (ours(images), theirs(images))]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
    labels = torch.arange(len(images)) % 10
    losses = [F.cross_entropy(x, labels) for x in logits]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    expected = peers.in_our_names({n: p.grad for n, p in theirs.named_parameters()}, rules, like)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f'{name}: {m}'
        )


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('linear', [True, False])
@pytest.mark.parametrize('version', [{}, V2])
def test_same_as_timm(size, layout, linear, version):
    theirs = peers.timm_peer(
        **TINY_ARCH,
        conv_mlp=not linear,
        use_grn=bool(version),
        ls_init_value=None if version else 1e-6,
    )
    ours = peers.Ours(arch=TINY_ARCH, linear_pw_conv=linear, **version)
    assert_same(ours, theirs, peers.TIMM, torch.randn(2, 3, *size).to(memory_format=layout))


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_same_as_torchvision(size, layout):
    images = torch.randn(2, 3, *size).to(memory_format=layout)
    assert_same(peers.Ours(arch=TINY_ARCH), peers.torchvision_peer(**TINY_ARCH), peers.TORCHVISION, images)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('version', [{}, V2])
def test_same_as_transformers(size, layout, version):
    theirs = peers.transformers_peer(**TINY_ARCH, v2=bool(version))
    images = torch.randn(2, 3, *size).to(memory_format=layout)
    assert_same(peers.Ours(arch=TINY_ARCH, **version), theirs, peers.TRANSFORMERS, images)


@pytest.mark.parametrize('version', [{}, V2])
def test_full_size_tiny_is_the_same_as_timm_at_224(version):
    arch = ARCHS['tiny']
    theirs = peers.timm_peer(
        arch['depths'], arch['channels'], use_grn=bool(version), ls_init_value=None if version else 1e-6
    )
    assert_same(peers.Ours(arch='tiny', **version), theirs, peers.TIMM, torch.randn(2, 3, 224, 224))


class WithHead(nn.Module):
    """mmpretrain's backbone with a linear layer, with the parameter names of ``Ours``."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Module()
        self.head.fc = nn.Linear(backbone.channels[-1], 10)

    def forward(self, x):
        return self.head.fc(self.backbone(x)[-1])


UNCHANGED = [(r'(?=backbone|head)', '')]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('linear', [True, False])
@pytest.mark.parametrize('version', [{}, V2])
def test_same_as_mmpretrain(size, layout, linear, version):
    kwargs = dict(arch=dict(TINY_ARCH), linear_pw_conv=linear, **version)
    theirs = peers.randomize(WithHead(MMPretrainConvNeXt(**kwargs, out_indices=[-1])))
    images = torch.randn(2, 3, *size).to(memory_format=layout)
    assert_same(peers.Ours(**kwargs), theirs, UNCHANGED, images)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_isotropic_is_mmpretrains_block_without_stem_norm(layout):
    arch = dict(depths=(3,), channels=(24,))
    backbone = MMPretrainConvNeXt(dict(arch), stem_patch_size=16, layer_scale_init_value=0.0, out_indices=[0])
    backbone.downsample_layers[0][1] = nn.Identity()
    theirs = peers.randomize(WithHead(backbone))
    ours = peers.Ours(arch=dict(**arch, stem_patch_size=16, stem_norm=False), layer_scale_init_value=0.0)
    assert_same(ours, theirs, UNCHANGED, torch.randn(2, 3, 97, 64).to(memory_format=layout))


@pytest.mark.parametrize('version', [{}, V2])
@pytest.mark.parametrize('arch', ['atto', 'femto', 'pico', 'nano', 'tiny'])
def test_checkpoint_of_mmpretrain_loads_strictly_and_gives_the_same_features(arch, version, tmp_path):
    theirs = peers.randomize(MMPretrainConvNeXt(arch, out_indices=[3], **version))
    theirs.eval()  # returns None there
    torch.save(theirs.state_dict(), tmp_path / 'theirs.pth')
    ours = ConvNeXt(arch, **version).eval()
    ours.load_state_dict(torch.load(tmp_path / 'theirs.pth'), strict=True)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('arch', MMPretrainConvNeXt.arch_settings)
@pytest.mark.parametrize('version', [{}, V2])
def test_names_shapes_and_layer_depths_are_those_of_mmpretrain(arch, version, monkeypatch):
    linspace = torch.linspace
    monkeypatch.setattr(torch, 'linspace', lambda *args, **_: linspace(*args, device='cpu'))
    out_indices = [0, 1, 2, 3]
    with torch.device('meta'):
        ours = ConvNeXt(arch, out_indices=out_indices, **version)
        theirs = MMPretrainConvNeXt(arch, out_indices=out_indices, **version)
    shapes = [{n: p.shape for n, p in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    for name in ['head.fc.weight', *(f'backbone.{name}' for name in shapes[0])]:
        depths = [m.get_layer_depth(name, 'backbone.') for m in (ours, theirs)]
        assert depths[0] == depths[1], name


@pytest.mark.parametrize('size', SIZES)
def test_features_of_all_stages_are_those_of_mmpretrain(size):
    kwargs = dict(arch=dict(TINY_ARCH), out_indices=[0, 1, 2, 3], gap_before_final_norm=False)
    theirs = peers.randomize(MMPretrainConvNeXt(**kwargs))
    ours = ConvNeXt(**kwargs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, *size)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('stem_type', ['overlap', 'overlap_tiered', 'overlap_act'])
def test_overlapping_stems_are_those_of_timm(stem_type):
    theirs = peers.timm_peer(**TINY_ARCH, stem_type=stem_type)
    assert_same(
        peers.Ours(arch=TINY_ARCH, stem_type=stem_type), theirs, peers.TIMM, torch.randn(2, 3, 61, 64)
    )


@pytest.mark.parametrize('arch', ['atto', 'femto', 'pico'])
def test_tiered_stem_halves_the_channels_as_timm_does(arch):
    channels = ARCHS[arch]['channels']
    theirs = peers.timm_peer((1, 1, 1, 1), channels, stem_type='overlap_tiered')
    ours = ConvNeXt(dict(depths=(1, 1, 1, 1), channels=channels), stem_type='overlap_tiered')
    assert ours.downsample_layers[0][0].out_channels == theirs.stem[0].out_channels


@pytest.mark.parametrize(
    ('ours', 'theirs'),
    [
        (dict(norm_cfg=dict(type='LN2d', eps=1e-5)), dict(norm_eps=1e-5)),
        (dict(norm_cfg=dict(type='RMSNorm2d', eps=1e-6)), dict(norm_layer='rmsnorm')),
        (dict(norm_cfg=dict(type='SimpleNorm2d', eps=1e-6)), dict(norm_layer='simplenorm')),
        (dict(kernel_size=(7, 5, 5, 3)), dict(kernel_sizes=(7, 5, 5, 3))),
        (dict(conv_bias=False), dict(conv_bias=False)),
        (dict(act_cfg='silu'), dict(act_layer='silu')),
        (dict(act_cfg='gelu_pytorch_tanh'), dict(act_layer='gelu_tanh')),
        (dict(act_cfg=dict(type='ReLU')), dict(act_layer='relu')),
    ],
)
def test_variants_of_timm(ours, theirs):
    assert_same(
        peers.Ours(arch=TINY_ARCH, **ours),
        peers.timm_peer(**TINY_ARCH, **theirs),
        peers.TIMM,
        torch.randn(2, 3, 64, 64),
    )


@pytest.mark.parametrize('output_stride', [32, 16, 8])
@pytest.mark.parametrize('size', SIZES)
def test_dilation_is_that_of_timm(output_stride, size):
    theirs = peers.timm_peer(**TINY_ARCH, output_stride=output_stride)
    ours = peers.Ours(arch=TINY_ARCH, output_stride=output_stride)
    assert_same(ours, theirs, peers.TIMM, torch.randn(2, 3, *size))


def test_other_mlp_ratio_is_the_same_as_a_block_of_timm():
    from timm.models.convnext import ConvNeXtBlock as TimmBlock

    from mmconvnext.models.block import ConvNeXtBlock

    theirs = peers.randomize(TimmBlock(16, mlp_ratio=2.5))
    ours = ConvNeXtBlock(16, mlp_ratio=2.5)
    renamed = {f'stages.0.blocks.0.{name}': weight for name, weight in theirs.state_dict().items()}
    like = {f'backbone.stages.0.0.{name}': weight for name, weight in ours.state_dict().items()}
    weights = peers.in_our_names(renamed, peers.TIMM, like)
    ours.load_state_dict({name.removeprefix('backbone.stages.0.0.'): w for name, w in weights.items()})
    x = torch.randn(2, 16, 9, 7)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
