import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck

from mmconvnext.ops import gelu as ops
from mmconvnext.ops.triton import gelu as kernels
from tests.kernels import assert_close, check_kernel, features


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shape', [(1,), (3, 2, 3, 40), (1, 14, 9, 96), (0, 40)])
def test_output_and_gradient_are_those_of_torch(shape, dtype):
    check_kernel(ops.gelu, F.gelu, features(*shape, dtype=dtype))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_backward_pass_gives_the_hidden_values_again(dtype):
    z, dh = (features(3, 7, 7, 40, dtype=dtype) for _ in range(2))
    h, dz = ops.gelu_backward(z, dh)
    assert torch.equal(h, ops.gelu(z))
    assert all(map(torch.equal, (h, dz), ops.gelu_backward(z, dh)))
    assert_close(dz, wide_gradient(z, dh))


def wide_gradient(z, dh):
    wide = z.detach().double().requires_grad_()
    return torch.autograd.grad(F.gelu(wide), wide, dh.double())[0]


def test_large_values_stay_finite():
    z = torch.tensor([-1e30, -50, -0.0, 0.0, 50, 1e30])
    h, dz = ops.gelu_backward(z, torch.ones_like(z))
    assert torch.equal(h, torch.tensor([0, 0, 0, 0, 50, 1e30]))
    assert torch.equal(dz, torch.tensor([0, 0, 0.5, 0.5, 1, 1]))


def test_map_in_other_memory():
    z = features(3, 40, 5).detach().movedim(1, -1).requires_grad_()
    check_kernel(ops.gelu, F.gelu, z)
    assert_close(ops.gelu_backward(z, z)[1], wide_gradient(z, z))


def test_compilation_changes_nothing():
    check_kernel(torch.compile(ops.gelu, backend='aot_eager', fullgraph=True), F.gelu, features(3, 40))


def test_operators_keep_the_rules_of_torch():
    opcheck(kernels.gelu, (features(2, 40),))
    opcheck(kernels.gelu_backward, (features(2, 40).detach(), features(2, 40).detach()))
