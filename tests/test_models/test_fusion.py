"""The fused MLP is used only where it makes no visible difference."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from mmconvnext.models import ConvNeXt, fusion
from mmconvnext.models.block import LayerNorm2d
from mmconvnext.models.fusion import FusedConvNeXtBlock
from tests.conftest import TINY_ARCH


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of the fused MLP, which is enabled for small maps too."""
    found = []

    def block_mlp(*args):
        found.append(args)
        return original(*args)

    original = fusion.block_mlp
    monkeypatch.setattr(fusion, 'block_mlp', block_mlp)
    monkeypatch.setattr(fusion, 'MIN_FUSED_ELEMENTS', 0)
    return found


def separately(monkeypatch, function):
    """Call a function with the fused MLP disabled."""
    with monkeypatch.context() as patch:
        patch.setattr('mmconvnext.models.fusion.can_fuse', lambda *_: False)
        return function()


def outcome(backbone, images, seed=0):
    """Return outputs and gradients."""
    torch.manual_seed(seed)
    backbone.zero_grad()
    outputs = backbone(images)
    sum((output * output.detach().roll(1, 1)).sum() for output in outputs).backward()
    return [*outputs, *(p.grad for p in backbone.parameters() if p.grad is not None)]


SETTINGS = {
    'v1': dict(layer_scale_init_value=0.5),
    'v2': dict(use_grn=True, layer_scale_init_value=0.0),
    'checkpointed': dict(with_cp=True, layer_scale_init_value=0.5),
    'frozen': dict(frozen_stages=2, layer_scale_init_value=0.5),
}


@pytest.mark.parametrize('settings', SETTINGS.values(), ids=SETTINGS)
def test_network_is_the_same_with_drop_path(settings, calls, monkeypatch):
    backbone = ConvNeXt(TINY_ARCH, drop_path_rate=0.5, out_indices=(0, 3), **settings).train()
    images = torch.randn(6, 3, 64, 64)
    fused = outcome(backbone, images)
    assert len(calls) >= sum(backbone.depths)
    plain = separately(monkeypatch, lambda: outcome(backbone, images))
    for mine, true in zip(fused, plain, strict=True):
        assert (mine - true).norm() <= 2e-5 * true.norm()


def hook(block):
    block.pointwise_conv1.register_forward_hook(lambda *_: None)


def adapter(block):
    class Adapted(nn.Linear):
        pass

    block.pointwise_conv2 = Adapted(32, 8)


def parametrization(block):
    nn.utils.parametrizations.weight_norm(block.pointwise_conv1)


def other_activation(block):
    block.act = nn.ReLU()


def forward_of_the_instance(block):
    block.pointwise_conv1.forward = block.pointwise_conv1.forward


def weight_of_another_type(block):
    class Quantized(torch.Tensor):
        pass

    weight = block.pointwise_conv1.weight.detach().as_subclass(Quantized)
    block.pointwise_conv1.weight = nn.Parameter(weight)


def no_bias(block):
    block.pointwise_conv1 = nn.Linear(8, 32, bias=False)


def norm_without_parameters(block):
    block.norm = LayerNorm2d(8, elementwise_affine=False)


@pytest.mark.parametrize(
    'change',
    [
        *(hook, forward_of_the_instance, adapter, parametrization, weight_of_another_type),
        *(other_activation, no_bias, norm_without_parameters),
    ],
)
def test_changed_blocks_compute_separately(change, calls):
    block = FusedConvNeXtBlock(8)
    x = torch.randn(1, 8, 4, 4)
    block(x)
    assert len(calls) == 1
    change(block)
    block(x)
    assert len(calls) == 1


def test_small_maps_compute_separately(calls, monkeypatch):
    monkeypatch.setattr(fusion, 'MIN_FUSED_ELEMENTS', 2 * 16 * 32)
    block = FusedConvNeXtBlock(8)
    block(torch.randn(1, 8, 4, 4))
    assert not calls
    block(torch.randn(2, 8, 4, 4))
    assert len(calls) == 1


def test_tracers_and_transforms_see_torchs_operations(calls):
    backbone = ConvNeXt(TINY_ARCH, drop_path_rate=0.2).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = backbone(images)[0]
    calls.clear()
    traced = torch.jit.trace(backbone, images, check_trace=False)
    torch.testing.assert_close(traced(images)[0], expected)
    exported = torch.export.export(backbone, (images,)).module()
    torch.testing.assert_close(exported(images)[0], expected)
    stacked = torch.func.vmap(lambda image: backbone(image[None])[0][0])(images)
    torch.testing.assert_close(stacked, expected)
    with torch.autograd.forward_ad.dual_level():
        along = torch.autograd.forward_ad.make_dual(images, torch.randn_like(images))
        assert torch.autograd.forward_ad.unpack_dual(backbone(along)[0]).tangent.any()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert backbone.train()(mode.from_tensor(images))[0].shape == expected.shape
    assert not calls


def test_mean_of_drop_path_is_kept(calls):
    """Kept images are scaled to compensate for dropped ones."""
    block = FusedConvNeXtBlock(8, drop_path_rate=0.3, layer_scale_init_value=1.0).train()
    x = torch.randn(1, 8, 2, 2)
    added = block(x.expand(20000, -1, -1, -1)) - x
    assert (added.flatten(1) == 0).all(1).float().mean() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(added.mean(0, keepdim=True), block.eval()(x) - x, rtol=0.05, atol=1e-3)
