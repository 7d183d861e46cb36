import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck

from mmconvnext.ops.layer_norm import layer_norm
from mmconvnext.ops.triton import layer_norm as kernels
from mmconvnext.ops.triton.layer_norm import normalize, normalize_backward
from tests.kernels import check_kernel, check_repeats, features, parameters

EPS = 1e-6


def op(x, weight, bias):
    return layer_norm(x, weight, bias, eps=EPS)


def reference(x, weight, bias):
    return F.layer_norm(x, weight.shape, weight, bias, EPS)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shape', [(1, 1, 1, 40), (3, 2, 3, 40), (1, 14, 9, 96), (3, 7, 7, 320), (5, 97)])
def test_output_and_gradients_are_those_of_torch(shape, dtype):
    check_kernel(op, reference, features(*shape, dtype=dtype), *parameters(shape[-1:], shape[-1:]))


def test_map_in_nchw_memory():
    x = features(3, 40, 2, 3).detach().movedim(1, -1).requires_grad_()
    check_kernel(op, reference, x, *parameters((40,), (40,)))


def test_far_mean_does_not_spoil_the_variance():
    x = (features(4, 96).detach() + 1000).requires_grad_()
    weight, bias = parameters((96,), (96,))
    found, plain = op(x, weight, bias), reference(x, weight, bias)
    truth = reference(x.double(), weight.double(), bias.double())
    assert (found - truth).norm() <= 2 * (plain - truth).norm()


def test_type_under_autocast_is_that_of_x():
    weight, bias = parameters((40,), (40,))
    with torch.autocast('cpu', torch.bfloat16):
        assert op(features(2, 40, dtype=torch.bfloat16), weight, bias).dtype == torch.bfloat16


def test_gradients_repeat_bit_for_bit():
    check_repeats(op, features(200, 40), *parameters((40,), (40,)))


def test_compilation_changes_nothing():
    compiled = torch.compile(op, backend='aot_eager', fullgraph=True)
    check_kernel(compiled, reference, features(3, 40), *parameters((40,), (40,)))


def test_operators_keep_the_rules_of_torch():
    x, (weight, bias) = features(2, 3, 40), parameters((40,), (40,))
    opcheck(normalize, (x, weight, bias, EPS))
    mean = torch.zeros(2, 3)
    opcheck(normalize_backward, (x.detach(), x.detach(), weight.detach(), mean, mean + 1))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'x has shape \(2, 40\), weight \(41,\) and bias \(40,\); expected'):
        layer_norm(torch.zeros(2, 40), torch.zeros(41), torch.zeros(40), eps=EPS)


def test_no_rows_have_gradients_of_zero(monkeypatch):
    """A GPU runs one program for no rows; memory that it does not write is uninitialized."""
    monkeypatch.setattr(kernels, 'summing_programs', lambda *_: 1)
    monkeypatch.setattr(torch.utils.deterministic, 'fill_uninitialized_memory', True)
    torch.use_deterministic_algorithms(True)
    try:
        weight, bias = parameters((8,), (8,))
        layer_norm(features(0, 8), weight, bias, eps=1e-6).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(weight.grad, torch.zeros(8)) and torch.equal(bias.grad, torch.zeros(8))
