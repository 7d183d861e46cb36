import pytest
import torch
from torch.library import opcheck

from mmconvnext.models.block import GRN
from mmconvnext.ops.grn import grn
from mmconvnext.ops.triton.grn import respond, respond_backward
from tests.kernels import check_kernel, check_repeats, features, parameters


def reference(x, gamma, beta):
    layer = GRN(len(gamma)).to(gamma.dtype)
    return torch.func.functional_call(layer, {'gamma': gamma, 'beta': beta}, x)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shape', [(1, 1, 1, 40), (3, 2, 3, 40), (1, 14, 9, 96), (3, 7, 7, 320)])
def test_output_and_gradients_are_those_of_the_layer(shape, dtype):
    check_kernel(grn, reference, features(*shape, dtype=dtype), *parameters(shape[-1:], shape[-1:]))


def test_map_in_nchw_memory():
    x = features(3, 40, 2, 3).detach().movedim(1, -1).requires_grad_()
    check_kernel(grn, reference, x, *parameters((40,), (40,)))


def test_channel_of_zeros_has_a_gradient_as_in_the_layer():
    x = features(2, 3, 3, 40).detach()
    x[0, ..., 7] = 0
    check_kernel(grn, reference, x.requires_grad_(), *parameters((40,), (40,)))


def test_type_under_autocast_is_that_of_x():
    gamma, beta = parameters((40,), (40,))
    with torch.autocast('cpu', torch.bfloat16):
        assert grn(features(1, 2, 2, 40, dtype=torch.bfloat16), gamma, beta).dtype == torch.bfloat16


def test_gradients_repeat_bit_for_bit():
    check_repeats(grn, features(2, 9, 9, 40), *parameters((40,), (40,)))


def test_compilation_changes_nothing():
    compiled = torch.compile(grn, backend='aot_eager', fullgraph=True)
    check_kernel(compiled, reference, features(2, 3, 2, 40), *parameters((40,), (40,)))


def test_operators_keep_the_rules_of_torch():
    x, (gamma, beta) = features(2, 3, 40), parameters((40,), (40,))
    opcheck(respond, (x, gamma, beta, 1e-6))
    opcheck(respond_backward, (x.detach(), x.detach(), gamma.detach(), torch.ones(2, 40), 1e-6))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'gamma \(41,\) and beta \(40,\); expected \(N, ..., C\)'):
        grn(torch.zeros(1, 2, 2, 40), torch.zeros(41), torch.zeros(40))
