from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

from mmconvnext.ops.triton.depthwise_conv import convolve, depthwise_conv, weight_grad
from tests.kernels import assert_close, check_kernel, check_repeats, features, parameters


def reference(x, weight, bias=None):
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))


@pytest.mark.parametrize(
    ('shape', 'dtype'),
    [
        ((3, 40, 2, 3), torch.float32),
        ((1, 40, 14, 9), torch.float32),
        ((1, 96, 7, 7), torch.bfloat16),
        ((1, 320, 1, 1), torch.bfloat16),
    ],
)
def test_output_and_gradients_are_those_of_conv2d(shape, dtype):
    x = features(*shape, dtype=dtype).detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    weight, bias = parameters((shape[1], 1, 7, 7), shape[1:2])
    check_kernel(depthwise_conv, reference, x, weight, bias)


@pytest.mark.parametrize('size', [1, 5])
def test_other_odd_kernels_without_bias(size):
    check_kernel(depthwise_conv, reference, features(1, 8, 3, 9), *parameters((8, 1, size, size)))


def test_map_in_nchw_memory_gives_one_in_channels_last():
    x, (weight,) = features(2, 8, 3, 4), parameters((8, 1, 3, 3))
    y = depthwise_conv(x, weight)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_close(y, reference(x.double(), weight.double()))


def test_part_of_a_map_is_read_by_its_strides():
    x = features(2, 8, 6, 8).detach().contiguous(memory_format=torch.channels_last)[:, :, ::2, 1:5]
    check_kernel(depthwise_conv, reference, x.requires_grad_(), *parameters((8, 1, 3, 3), (8,)))


def test_frozen_weight_gets_no_gradient():
    x, (weight,) = features(1, 8, 2, 2), parameters((8, 1, 3, 3))
    depthwise_conv(x, weight.requires_grad_(False)).sum().backward()
    assert weight.grad is None and x.grad is not None


def test_no_images_give_no_images_and_gradients_of_zero():
    x, weight = features(0, 8, 2, 2), parameters((8, 1, 3, 3))[0]
    y = depthwise_conv(x, weight)
    y.sum().backward()
    assert y.shape == x.shape
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_autocast_casts_the_map_and_leaves_the_parameters():
    x, (weight, bias) = features(1, 8, 3, 3), parameters((8, 1, 3, 3), (8,))
    with torch.autocast('cpu', torch.bfloat16):
        y = depthwise_conv(x, weight, bias)
        assert y.dtype == reference(x, weight, bias).dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad.dtype == weight.grad.dtype == bias.grad.dtype == torch.float32
    assert_close(y, reference(x.bfloat16().double(), weight.double(), bias.double()))


def test_gradients_repeat_bit_for_bit():
    check_repeats(depthwise_conv, features(1, 8, 9, 5), *parameters((8, 1, 3, 3), (8,)))


def test_checkpointing_and_compilation_change_nothing():
    x, parts = features(1, 8, 3, 3), parameters((8, 1, 3, 3), (8,))
    compiled = torch.compile(depthwise_conv, backend='aot_eager', fullgraph=True)
    check_kernel(compiled, reference, x, *parts)
    check_kernel(partial(checkpoint, depthwise_conv, use_reentrant=False), reference, x, *parts)


def test_operators_keep_the_rules_of_torch():
    x, (weight, bias) = features(2, 8, 3, 2), parameters((8, 1, 3, 3), (8,))
    opcheck(convolve, (x, weight, bias))
    opcheck(weight_grad, (x.detach(), x.detach(), 3))


@pytest.mark.parametrize(
    ('x', 'weight', 'problem'),
    [
        ((8, 3, 3), (8, 1, 3, 3), r'x has shape \(8, 3, 3\); expected \(N, 8, H, W\)'),
        ((1, 4, 3, 3), (8, 1, 3, 3), r'x has shape \(1, 4, 3, 3\); expected \(N, 8, H, W\)'),
        ((1, 8, 3, 3), (8, 1, 2, 2), 'with an odd k$'),
        ((1, 8, 3, 3), (8, 1, 3, 5), r'the weight has shape \(8, 1, 3, 5\)'),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weight, problem):
    with pytest.raises(ValueError, match=problem):
        depthwise_conv(torch.zeros(x), torch.zeros(weight))
