"""The block computes its formula, and its activations are those of transformers."""

import pytest
import torch
import torch.nn.functional as F
from transformers.activations import ACT2FN

from mmconvnext.models.block import ACTIVATIONS, ConvNeXtBlock, build_activation
from mmconvnext.models.fusion import FusedConvNeXtBlock


def formula(block, x):
    """Compute a block in eval mode as the papers write it, with nothing but torch's functions."""
    conv, norm, linear1, linear2 = (
        block.depthwise_conv,
        block.norm,
        block.pointwise_conv1,
        block.pointwise_conv2,
    )
    y = F.conv2d(x, conv.weight, conv.bias, padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
    y = (y - y.mean(-1, keepdim=True)) / torch.sqrt(y.var(-1, keepdim=True, correction=0) + norm.eps)
    y = F.gelu((y * norm.weight + norm.bias) @ linear1.weight.T + linear1.bias)
    if block.grn is not None:
        r = y.norm(dim=(1, 2), keepdim=True)
        y = y + block.grn.gamma * (y * r / (r.mean(-1, keepdim=True) + block.grn.eps)) + block.grn.beta
    y = y @ linear2.weight.T + linear2.bias
    y = y if block.gamma is None else y * block.gamma
    return x + y.permute(0, 3, 1, 2)


@pytest.mark.parametrize('block_type', [ConvNeXtBlock, FusedConvNeXtBlock])
@pytest.mark.parametrize('settings', [{}, dict(use_grn=True, layer_scale_init_value=0.0)], ids=['v1', 'v2'])
@pytest.mark.parametrize('size', [(5, 9), (64, 64)])  # the fused one computes in parts from 2^20 values on
def test_block_computes_its_formula(block_type, settings, size):
    block = block_type(64, **settings).double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 4
    x = torch.randn(2, 64, *size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(x), formula(block, x), rtol=1e-9, atol=1e-9)


def test_names_are_those_of_transformers():
    assert set(ACTIVATIONS) >= set(ACT2FN)


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_same_values_and_gradients_as_transformers(name):
    ours, theirs = build_activation(name), ACT2FN[name]
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ours, theirs = ours.double(), theirs.double()  # the formulas differ in rounding
    x = torch.linspace(-12, 12, 241, dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [act(i) for act, i in zip((ours, theirs), inputs, strict=True)]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)
    for output in outputs:
        output.sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-5, atol=1e-6)
