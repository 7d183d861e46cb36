"""The depthwise convolution and its gradients equal those of torch."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mmconvnext.ops import depthwise_conv as op
from mmconvnext.ops.depthwise_conv import depthwise_conv, reference

# Sizes larger and smaller than the kernel in either direction.
SIZES = [(14, 9), (7, 7), (3, 20), (2, 3), (1, 1)]


def tensors(size, kernel=7, dtype=torch.float64, channels=5):
    shapes = (3, channels, *size), (channels, 1, kernel, kernel), (channels,)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def gradients(function, inputs, grad, **kwargs):
    out = function(*inputs, **kwargs)
    return out, *torch.autograd.grad(out, inputs, grad)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dilation', [1, 2])
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_output_and_gradients_are_those_of_torch(size, dilation, memory_format):
    x, weight, bias = tensors(size, dtype=torch.float32, channels=40)
    x = x.detach().to(memory_format=memory_format).requires_grad_()
    grad = torch.randn_like(x)
    ours = gradients(depthwise_conv, (x, weight, bias), grad, dilation=dilation)
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, weight, bias)]
    theirs = gradients(reference, exact, grad.double(), dilation=dilation)
    for mine, true in zip(ours, theirs, strict=True):
        assert mine.shape == true.shape
        assert (mine - true).abs().max() <= 2e-6 * true.abs().max()


@pytest.mark.parametrize('kernel', [1, 3, 7])
def test_gradients_and_their_gradients_are_numerical_ones(kernel):
    inputs = tensors((4, 3), kernel, channels=2)
    assert gradcheck(depthwise_conv, inputs)
    assert gradgradcheck(depthwise_conv, inputs)


def test_only_wanted_gradients_are_computed(monkeypatch):
    asked = []
    monkeypatch.setattr(op, 'weight_gradient', lambda *_: asked.append('weight'))
    x, weight, bias = tensors((8, 8))
    depthwise_conv(x, weight.detach(), None).sum().backward()
    assert x.grad is not None and not asked


def test_weight_gradient_is_not_torchs_slow_one():
    x, weight, bias = tensors((8, 8))
    with torch.profiler.profile() as profile:
        depthwise_conv(x, weight, bias).sum().backward()
    assert 'aten::convolution_backward' not in {event.key for event in profile.key_averages()}


def test_a_single_pixel_is_not_convolved_channel_by_channel():
    x, weight, bias = tensors((1, 1), dtype=torch.float32, channels=40)
    with torch.no_grad(), torch.profiler.profile() as profile:
        depthwise_conv(x[:1], weight, bias)
    assert 'aten::_slow_conv2d_forward' not in {event.key for event in profile.key_averages()}


def test_autocast_computes_in_its_dtype():
    x, weight, bias = tensors((8, 8), dtype=torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        ours, theirs = depthwise_conv(x, weight, bias), reference(x, weight, bias)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert torch.equal(ours, theirs)
    ours.sum().backward()
    assert weight.grad.dtype == torch.float32


def test_empty_batch_passes():
    x, weight, bias = tensors((8, 8))
    depthwise_conv(x[:0], weight, bias).sum().backward()
    assert not weight.grad.any()
