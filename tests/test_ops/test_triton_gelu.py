import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck

from mmconvnext.ops.gelu import gelu_backward
from mmconvnext.ops.triton import gelu as kernels
from tests.kernels import assert_close, features


def truth(z, dh):
    wide = z.detach().double().requires_grad_()
    h = F.gelu(wide)
    return h.detach(), torch.autograd.grad(h, wide, dh.double())[0]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shape', [(1,), (3, 7, 40), (1, 126, 96), (0, 40)])
def test_hidden_values_and_gradient_are_those_of_torch(shape, dtype):
    z, dh = (features(*shape, dtype=dtype).detach() for _ in range(2))
    found = gelu_backward(z, dh)
    for value, true in zip(found, truth(z, dh), strict=True):
        assert_close(value, true)
    assert all(map(torch.equal, found, gelu_backward(z, dh)))


def test_large_values_stay_finite():
    z = torch.tensor([-1e30, -50, -0.0, 0.0, 50, 1e30])
    h, dz = gelu_backward(z, torch.ones_like(z))
    assert torch.equal(h, torch.tensor([0, 0, 0, 0, 50, 1e30]))
    assert torch.equal(dz, torch.tensor([0, 0, 0.5, 0.5, 1, 1]))


def test_values_in_other_memory():
    z = features(3, 40, 5).detach().movedim(1, -1)
    assert_close(gelu_backward(z, z)[1], truth(z, z)[1])


def test_operator_keeps_the_rules_of_torch():
    opcheck(kernels.gelu_backward, (features(2, 40).detach(), features(2, 40).detach()))
