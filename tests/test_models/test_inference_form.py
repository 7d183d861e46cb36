"""A network optimized for inference computes the same function."""

import pytest
import torch

from mmconvnext.models import ConvNeXt
from mmconvnext.models.inference import optimized
from mmconvnext.ops import inference_mlp as mlp
from mmconvnext.ops.onednn import PackedLinear, onednn_computes
from tests.conftest import TINY_ARCH
from tests.peers import randomize

VARIANTS = {
    'v1': {},
    'v2': dict(use_grn=True, layer_scale_init_value=0.0),
    'maps': dict(gap_before_final_norm=False, out_indices=(0, 1, 2, 3)),
    'convolutions': dict(linear_pw_conv=False),
    'tanh': dict(act_cfg='gelu_pytorch_tanh'),
    'relu': dict(act_cfg='relu'),
    'norm without parameters': dict(norm_cfg=dict(type='LN2d', eps=1e-6, elementwise_affine=False)),
    'norm without bias': dict(norm_cfg=dict(type='LN2d', eps=1e-6, bias=False)),
    'rms': dict(norm_cfg=dict(type='RMSNorm2d', eps=1e-6)),
    'simple': dict(norm_cfg=dict(type='SimpleNorm2d', eps=1e-6)),
    'dilated': dict(output_stride=8, gap_before_final_norm=False),
    'overlap': dict(stem_type='overlap_act'),
}


def build(**settings):
    torch.manual_seed(0)
    backbone = ConvNeXt(**{'arch': TINY_ARCH, 'drop_path_rate': 0.3, **settings})
    randomize(backbone)
    return backbone


@pytest.mark.parametrize('settings', VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_outputs_are_those_of_the_backbone(settings, memory_format):
    backbone = build(**settings)
    fast = backbone.optimize_for_inference()
    images = torch.randn(3, 3, 75, 52).to(memory_format=memory_format)
    backbone.eval()
    for output, expected in zip(fast(images), backbone(images), strict=True):
        assert output.shape == expected.shape
        assert (output - expected).abs().max() <= 2e-6 * expected.abs().max()


@pytest.mark.skipif(not onednn_computes(torch.float32), reason='this torch was built without oneDNN')
def test_weights_are_packed_for_onednn():
    layers = [
        module
        for module in build().optimize_for_inference().modules()
        if isinstance(module, mlp.InferenceMLP)
    ]
    assert len(layers) == 5
    assert all(isinstance(layer.linear2, PackedLinear) for layer in layers)


def test_backbone_is_left_as_it_is():
    backbone = build(use_grn=True)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.train()
    backbone.optimize_for_inference()(torch.randn(1, 3, 64, 64))
    assert backbone.training
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_input_is_left_as_it_is():
    images = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    before = images.clone()
    build(stem_patch_size=1).optimize_for_inference()(images)
    assert torch.equal(images, before)


def test_large_maps_in_parts_are_those_of_one_piece(monkeypatch):
    monkeypatch.setattr(mlp, 'ROWS', 50)
    for settings in (VARIANTS['v1'], VARIANTS['v2']):
        backbone = build(**settings).eval()
        images = torch.randn(5, 3, 96, 64)
        torch.testing.assert_close(backbone.optimize_for_inference()(images), backbone(images))


@pytest.mark.parametrize('settings', [VARIANTS['v1'], VARIANTS['v2']], ids=['v1', 'v2'])
def test_bfloat16_is_no_worse_than_autocast(settings):
    backbone = build(gap_before_final_norm=False, **settings).eval()
    images = torch.randn(4, 3, 64, 64)
    (expected,) = backbone(images)
    with torch.autocast('cpu', torch.bfloat16):
        (automatic,) = backbone(images)
    (output,) = backbone.optimize_for_inference(torch.bfloat16)(images)
    assert output.dtype == torch.float32
    error = (output - expected).square().mean().sqrt()
    assert error <= 1.5 * (automatic.float() - expected).square().mean().sqrt()


@pytest.mark.parametrize('capability', ['AVX512', 'DEFAULT'])
def test_onednn_with_its_own_gelu_and_without_and_torch_agree(capability, monkeypatch):
    backbone = build().eval()
    images = torch.randn(2, 3, 64, 64)
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    (by_onednn,) = backbone.optimize_for_inference()(images)
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    (by_torch,) = backbone.optimize_for_inference()(images)
    torch.testing.assert_close(by_onednn, by_torch, rtol=0, atol=2e-6 * by_torch.abs().max().item())


def test_a_model_computes_in_the_form_within_and_plainly_after():
    backbone = build().eval()
    images = torch.randn(2, 3, 64, 64)
    plain = backbone(images)[0]
    with optimized(torch.nn.Sequential(backbone), 'bf16'):
        assert not torch.equal(backbone(images)[0], plain)
    assert torch.equal(backbone(images)[0], plain)
