"""The form for inference: the same function."""

import pytest
import torch

from mmconvnext.models import ConvNeXt
from tests.conftest import TINY_ARCH
from tests.peers import randomize

VARIANTS = {
    'v1': {},
    'v2': dict(use_grn=True, layer_scale_init_value=0.0),
    'maps': dict(gap_before_final_norm=False, out_indices=(0, 1, 2, 3)),
    'convolutions': dict(linear_pw_conv=False),
    'tanh': dict(act_cfg='gelu_pytorch_tanh'),
    'relu': dict(act_cfg='relu'),
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
