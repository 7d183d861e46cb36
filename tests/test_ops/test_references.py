"""The reference operators in plain torch compared with the layers of the network."""

import pytest
import torch
import torch.nn.functional as F

from mmconvnext.ops.gelu import gelu_backward
from mmconvnext.ops.grn import grn, respond, respond_backward
from mmconvnext.ops.layer_norm import layer_norm, normalize, normalize_backward


@pytest.fixture(autouse=True)
def _plain_torch(monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_TRITON', '0')


def randn(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def test_backward_of_gelu_gives_the_hidden_values_again():
    z, dh = torch.randn(3, 8, requires_grad=True), torch.randn(3, 8)
    h = F.gelu(z)
    assert all(map(torch.equal, gelu_backward(z, dh), (h, *torch.autograd.grad(h, z, dh))))


def test_response_and_its_gradients_by_hand_are_those_of_autograd():
    x, gamma, beta, dy = randn(3, 6, 5), randn(5), randn(5), randn(3, 6, 5).detach()
    expected = grn(x, gamma, beta, eps=1e-3)
    with torch.no_grad():
        out, response = respond(x, gamma, beta, 1e-3)
        gradients = respond_backward(dy, x, gamma, response, 1e-3)
    torch.testing.assert_close(out, expected.detach())
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (x, gamma, beta), dy))


def test_norm_and_its_gradients_by_hand_are_those_of_autograd():
    x, weight, bias, dy = randn(3, 6, 5), randn(5), randn(5), randn(3, 6, 5).detach()
    expected = layer_norm(x, weight, bias, eps=1e-3)
    with torch.no_grad():
        out, mean, rstd = normalize(x, weight, bias, 1e-3)
        gradients = normalize_backward(dy, x, weight, bias, mean, rstd)
    torch.testing.assert_close(out, expected.detach())
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (x, weight, bias), dy))
