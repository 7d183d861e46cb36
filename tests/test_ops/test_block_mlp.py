"""The fused MLP gives the same outputs and gradients as separate operations."""

import weakref

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mmconvnext.ops import block_mlp as op
from mmconvnext.ops.block_mlp import Constants, Weights, block_mlp, reference


def problem(*, grn=False, gamma=True, dropped=(), dtype=torch.float64, shape=(3, 6, 5), hidden=8):
    """Return arguments of the fused MLP; drop path drops the images with the given indices."""
    torch.manual_seed(0)
    images, _, channels = shape
    sizes = [channels, channels, (hidden, channels), hidden, hidden, hidden, (channels, hidden), channels]
    values = [torch.randn(size, dtype=dtype, requires_grad=True) for size in [*sizes, channels]]
    weights = Weights(*values)
    if not grn:
        weights = weights._replace(grn_gamma=None, grn_beta=None)
    if not gamma:
        weights = weights._replace(gamma=None)
    x, residual = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(2))
    kept = torch.tensor([i for i in range(images) if i not in dropped], dtype=torch.long) if dropped else None
    return x, residual, kept, Constants(1e-6, 'none', 1e-6, 1 / 0.7 if dropped else 1.0), weights


def inputs_of(x, residual, kept, constants, weights):
    return [tensor for tensor in (x, residual, *weights) if tensor is not None]


def outcome(function, arguments, grad):
    out = function(*arguments)
    return out, *torch.autograd.grad(out, inputs_of(*arguments), grad)


@pytest.fixture
def small_parts(monkeypatch):
    """Split the input into several parts, the last of another size."""
    monkeypatch.setattr(op, 'ROWS', 7)


CASES = {
    'v1': {},
    'v2': dict(grn=True, gamma=False),
    'both': dict(grn=True),
    'dropped': dict(dropped=[1]),
    'dropped v2': dict(grn=True, gamma=False, dropped=[0, 2]),
    'all dropped': dict(dropped=[0, 1, 2]),
}


@pytest.mark.parametrize('dtype, bound', [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_output_and_gradients_are_those_of_the_reference(case, dtype, bound, small_parts):
    arguments = problem(**case, dtype=dtype)
    grad = torch.randn_like(arguments[0])
    for mine, true in zip(*(outcome(f, arguments, grad) for f in (block_mlp, reference)), strict=True):
        assert mine.dtype == true.dtype
        assert (mine - true).abs().max() <= bound * max(true.abs().max(), 1e-30)


def test_tanh_form_of_gelu(small_parts):
    x, residual, kept, constants, weights = problem()
    arguments = x, residual, kept, constants._replace(gelu='tanh'), weights
    grad = torch.randn_like(x)
    for mine, true in zip(*(outcome(f, arguments, grad) for f in (block_mlp, reference)), strict=True):
        torch.testing.assert_close(mine, true)


@pytest.mark.parametrize('case', [{}, dict(grn=True, dropped=[1])], ids=['v1', 'v2'])
def test_gradients_and_their_gradients_are_numerical_ones(case):
    _, _, kept, constants, weights = arguments = problem(**case, shape=(2, 3, 2), hidden=3)

    def function(x, residual, *tensors):
        found = iter(tensors)
        return block_mlp(
            x,
            residual,
            kept,
            constants,
            Weights(*(None if tensor is None else next(found) for tensor in weights)),
        )

    assert gradcheck(function, inputs_of(*arguments))
    assert gradgradcheck(function, inputs_of(*arguments))


def test_dead_hidden_channel_has_gradients():
    """GRN divides by the norm of a channel, which may be 0."""
    arguments = problem(grn=True)
    with torch.no_grad():
        arguments[-1].w1[2] = 0
        arguments[-1].b1[2] = 0
    grad = torch.randn_like(arguments[0])
    for mine, true in zip(*(outcome(f, arguments, grad) for f in (block_mlp, reference)), strict=True):
        torch.testing.assert_close(mine, true)


@pytest.mark.parametrize('grn', [False, True])
def test_autocast_is_as_exact_as_the_reference_in_it(grn):
    arguments = problem(grn=grn, dtype=torch.float32, shape=(2, 50, 16), hidden=64)
    exact = problem(grn=grn, dtype=torch.float32, shape=(2, 50, 16), hidden=64)
    grad = torch.randn_like(arguments[0])
    true = outcome(reference, exact, grad)
    with torch.autocast('cpu', torch.bfloat16):
        ours, theirs = (outcome(f, arguments, grad) for f in (block_mlp, reference))
    for mine, other, right in zip(ours, theirs, true, strict=True):
        assert mine.dtype == other.dtype
        error, allowed = ((tensor - right).norm() for tensor in (mine, other))
        assert error <= 1.3 * allowed + 1e-6 * right.norm()


def test_half_of_the_memory_is_kept():
    x, residual, kept, constants, weights = problem(shape=(4, 64, 16), hidden=64, dtype=torch.float32)

    def remembered(function):
        storages = {}

        def note(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            function(x, residual, kept, constants, weights)
        for tensor in inputs_of(x, residual, kept, constants, weights):
            storages.pop(tensor.untyped_storage().data_ptr(), None)
        return sum(storages.values())

    assert remembered(block_mlp) <= 0.5 * remembered(reference)


def test_parts_are_forgotten_without_gradients(small_parts, monkeypatch):
    hidden = []

    def forward_part(*args):
        assert all(values() is None for values in hidden[:-1])
        y, values = original(*args)
        hidden.append(weakref.ref(values))
        return y, values

    original = op.forward_part
    monkeypatch.setattr(op, 'forward_part', forward_part)
    arguments = problem()
    with torch.no_grad():
        out = block_mlp(*arguments)
    assert len(hidden) > 1
    torch.testing.assert_close(out, reference(*arguments).detach())


@pytest.mark.parametrize('trained', [['gamma'], ['b1', 'norm_bias'], ['w2'], ['grn_gamma'], []])
def test_weights_that_do_not_learn_get_no_gradients_and_cost_none(trained, small_parts, monkeypatch):
    x, residual, kept, constants, weights = arguments = problem(grn=True)
    for name, tensor in weights._asdict().items():
        tensor.requires_grad_(name in trained)
    multiplied = []
    original = op.Totals.add_product

    def add_product(self, name, *pair):
        before = name in self.sums
        original(self, name, *pair)
        multiplied.extend([name] if name in self.sums and not before else [])

    monkeypatch.setattr(op.Totals, 'add_product', add_product)
    grad = torch.randn_like(x)
    wanted = [x, *(tensor for tensor in weights if tensor.requires_grad)]
    ours, true = (torch.autograd.grad(f(*arguments), wanted, grad) for f in (block_mlp, reference))
    for mine, right in zip(ours, true, strict=True):
        torch.testing.assert_close(mine, right)
    assert set(multiplied) == ({'w2'} if set(trained) & {'gamma', 'w2'} else set())


@pytest.mark.parametrize('case', [{}, dict(grn=True, dropped=[1])], ids=['v1', 'v2'])
def test_gradients_of_gradients_under_autocast(case):
    arguments = problem(**case, dtype=torch.float32)
    penalties = []
    for function in (block_mlp, reference):
        with torch.autocast('cpu', torch.bfloat16):
            out = function(*arguments)
        (slope,) = torch.autograd.grad(out.float().square().sum(), arguments[0], create_graph=True)
        penalties.append(torch.autograd.grad(slope.square().sum(), arguments[-1].w1)[0])
    assert (penalties[0] - penalties[1]).norm() <= 0.05 * penalties[1].norm()
