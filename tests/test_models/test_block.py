import pytest
import torch
from transformers.activations import ACT2FN

from mmconvnext.models.block import ACTIVATIONS, build_activation


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
