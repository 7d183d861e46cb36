"""A network with Triton kernels gives the same results as without, on small and large maps."""

import pytest
import torch

from mmconvnext.models import ConvNeXt, fusion
from mmconvnext.ops.triton import depthwise_conv, gelu, grn, layer_norm

KERNELS = {
    depthwise_conv: ['convolve', 'weight_grad'],
    layer_norm: ['normalize', 'normalize_backward'],
    gelu: ['gelu_backward'],
    grn: ['respond', 'respond_backward'],
}


@pytest.mark.parametrize('fewest', [0, 10**9], ids=['one operation', 'separate operations'])
@pytest.mark.parametrize(
    'settings',
    [dict(layer_scale_init_value=0.5), dict(use_grn=True, layer_scale_init_value=0.0)],
    ids=['v1', 'v2'],
)
def test_outputs_and_gradients(settings, fewest, monkeypatch):
    monkeypatch.setattr(fusion, 'MIN_FUSED_ELEMENTS', fewest)
    called = set()
    for module, names in KERNELS.items():
        for name in names:
            original = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *args, f=original, n=name: (called.add(n), f(*args))[1])
    backbone = ConvNeXt(dict(depths=(1, 1), channels=(8, 16)), drop_path_rate=0.3, **settings).train()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    images = torch.randn(4, 3, 24, 16)

    def outcome():
        torch.manual_seed(0)
        backbone.zero_grad()
        output = backbone(images)[0]
        (output * output.detach().roll(1, 1)).sum().backward()
        return [output, *(parameter.grad for parameter in backbone.parameters())]

    ours = outcome()
    wanted = {'convolve', 'weight_grad', 'normalize', 'normalize_backward'}
    wanted |= {'respond', 'respond_backward'} if 'use_grn' in settings else set()
    wanted |= {'gelu_backward'} if fewest == 0 and 'use_grn' not in settings else set()
    assert wanted <= called
    monkeypatch.setenv('MMCONVNEXT_TRITON', '0')
    for mine, true in zip(ours, outcome(), strict=True):
        assert (mine - true).norm() <= 1e-5 * true.norm()
