import pytest
import torch
from torch.library import opcheck

from mmconvnext.ops.residual import residual
from mmconvnext.ops.triton.residual import add, add_backward
from tests.kernels import check_kernel, check_repeats, features, parameters


def reference(x, y, gamma=None, keep=None):
    gamma = 1 if gamma is None else gamma
    keep = 1 if keep is None else keep[:, None, None, None]
    return x + y * gamma * keep


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shape', [(1, 1, 1, 40), (3, 2, 3, 40), (1, 14, 9, 96), (3, 7, 7, 320)])
def test_output_and_gradients_are_those_of_the_formula(shape, dtype):
    x, y = (features(*shape, dtype=dtype) for _ in range(2))
    keep = torch.tensor([1.25, 0, 1.25])[: shape[0]]
    check_kernel(residual, reference, x, y, *parameters(shape[-1:]), keep)


@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('dropped', [False, True])
def test_layer_scale_and_drop_path_may_be_missing(scaled, dropped):
    gamma = parameters((40,))[0] if scaled else None
    keep = torch.tensor([0, 2.0]) if dropped else None
    check_kernel(residual, reference, features(2, 3, 2, 40), features(2, 3, 2, 40), gamma, keep)


def test_maps_in_nchw_memory():
    x, y = (features(3, 40, 2, 3).detach().movedim(1, -1).requires_grad_() for _ in range(2))
    check_kernel(residual, reference, x, y, *parameters((40,)))


@pytest.mark.parametrize('x_dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('gamma_dtype', [None, torch.float32, torch.bfloat16])
def test_types_are_promoted_as_torch_does(x_dtype, gamma_dtype):
    x, y = features(1, 2, 2, 40, dtype=x_dtype), features(1, 2, 2, 40, dtype=torch.bfloat16)
    gamma = None if gamma_dtype is None else features(40, dtype=gamma_dtype)
    with torch.autocast('cpu', torch.bfloat16):
        assert residual(x, y, gamma).dtype == reference(x, y, gamma).dtype
    check_kernel(residual, reference, x, y, gamma)


def test_gradients_repeat_bit_for_bit():
    check_repeats(residual, features(2, 9, 9, 40), features(2, 9, 9, 40), *parameters((40,)))


def test_compilation_changes_nothing():
    compiled = torch.compile(residual, backend='aot_eager', fullgraph=True)
    x, y = features(2, 3, 2, 40), features(2, 3, 2, 40)
    check_kernel(compiled, reference, x, y, *parameters((40,)), torch.tensor([0, 2.0]))


def test_operators_keep_the_rules_of_torch():
    x, y, (gamma,) = features(2, 3, 2, 40), features(2, 3, 2, 40), parameters((40,))
    opcheck(add, (x, y, gamma, torch.tensor([0, 2.0])))
    opcheck(add, (x, y, None, None))
    opcheck(add_backward, (x.detach(), y.detach(), gamma.detach(), None))


@pytest.mark.parametrize(
    ('gamma', 'keep', 'problem'),
    [(41, None, r'gamma has shape \(41,\); \(40,\)'), (None, 3, r'keep has shape \(3,\); \(2,\)')],
)
def test_shapes_that_do_not_fit_are_refused(gamma, keep, problem):
    gamma, keep = (None if size is None else torch.ones(size) for size in (gamma, keep))
    with pytest.raises(ValueError, match=problem):
        residual(torch.zeros(2, 3, 2, 40), torch.zeros(2, 3, 2, 40), gamma, keep)
