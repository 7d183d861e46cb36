"""The operators in plain torch, which the kernels are held to, against the layers of the network."""

import pytest
import torch
import torch.nn.functional as F

from mmconvnext.models import ConvNeXt
from mmconvnext.models.layers import GRN, LayerNorm2d
from mmconvnext.ops.gelu import gelu, gelu_backward
from mmconvnext.ops.grn import grn
from mmconvnext.ops.layer_norm import layer_norm
from mmconvnext.ops.residual import residual


@pytest.fixture(autouse=True)
def _plain_torch(monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_TRITON', '0')


def test_block_is_made_of_the_operators():
    block = ConvNeXt(dict(depths=[1], channels=[8]), layer_scale_init_value=0.5, use_grn=True).stages[0][0]
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 8, 5, 4)
    norm, response = block.norm, block.grn
    assert (type(norm), type(response)) == (LayerNorm2d, GRN)
    y = block.depthwise_conv(x).movedim(1, -1)
    y = gelu(block.pointwise_conv1(layer_norm(y, norm.weight, norm.bias, eps=norm.eps)))
    y = block.pointwise_conv2(grn(y, response.gamma, response.beta))
    y = residual(x.movedim(1, -1), y, block.gamma).movedim(-1, 1)
    torch.testing.assert_close(y, block(x))


def test_dropped_image_keeps_its_input():
    x, y = torch.randn(2, 3, 3, 8), torch.randn(2, 3, 3, 8)
    out = residual(x, y, keep=torch.tensor([0, 2.0]))
    assert torch.equal(out, torch.stack([x[0], x[1] + 2 * y[1]]))


def test_backward_of_gelu_gives_the_hidden_values_again():
    z, dh = torch.randn(3, 8, requires_grad=True), torch.randn(3, 8)
    h = F.gelu(z)
    assert all(map(torch.equal, gelu_backward(z, dh), (h, *torch.autograd.grad(h, z, dh))))
