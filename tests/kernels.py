"""Checks that every Triton kernel has to pass."""

import torch

# Relative to the largest value. Where a GPU rounds to bfloat16, the interpreter truncates.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}


def check_kernel(op, reference, *inputs):
    """Check that output and gradients of an operator match its reference in fp64."""
    found, wanted = results(op, inputs), results(reference, [widened(x) for x in inputs])
    for value, truth, name in zip(found, wanted, ('output', *range(len(inputs))), strict=True):
        if truth is None:
            assert value is None
            continue
        assert name == 'output' or value.dtype == inputs[name].dtype
        assert_close(value, truth, lambda text, name=name: f'{name}: {text}')


def check_repeats(op, *inputs):
    """Check that output and gradients are bitwise equal in every run."""
    assert all(map(torch.equal, results(op, inputs), results(op, inputs)))


def results(op, inputs):
    """Return the output, and a gradient or None for each input."""
    torch.manual_seed(1)
    inputs = [x if x is None else x.detach().requires_grad_(x.requires_grad) for x in inputs]
    out = op(*inputs)
    out.backward(torch.randn(out.shape, dtype=torch.bfloat16).to(out.dtype))
    return [out.detach(), *(None if x is None else x.grad for x in inputs)]


def widened(x):
    return x if x is None else x.detach().double().requires_grad_(x.requires_grad)


def assert_close(value, truth, msg=None):
    tolerance = TOLERANCE[value.dtype]
    scale = truth.abs().max().item() if truth.numel() else 0
    torch.testing.assert_close(value.double(), truth, rtol=0, atol=tolerance * scale, msg=msg)


def parameters(*shapes):
    return [torch.randn(shape).requires_grad_() for shape in shapes]


def features(*shape, dtype=torch.float32):
    return torch.randn(shape).to(dtype).requires_grad_()
