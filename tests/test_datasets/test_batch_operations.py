"""RandAugment on batches compared with RandAugment on single images, which is tested against timm."""

import cv2
import numpy as np
import pytest
import torch

from mmconvnext.datasets import batch_operations, image_operations
from mmconvnext.datasets.rand_augment import FILL, OPERATIONS
from tests.test_datasets.test_image_operations import ENHANCING, MOVING, PLAIN, images

ROUNDED_BY_OPENCV = 'color', 'contrast', 'sharpness'


def one_by_one_and_together(name, image, values):
    """Apply every value to an image and its mirror image, one by one and in one batch."""
    singles = [variant for variant in (image, cv2.flip(image, 1)) for _ in values]
    fill = [FILL] if name in MOVING else []
    arguments = [value + 1 if name in ENHANCING else value for value in values] * 2
    has_argument = values[0] is not None
    expected = [
        getattr(image_operations, name)(single, *([argument] if has_argument else []), *fill)
        for single, argument in zip(singles, arguments, strict=True)
    ]
    batch = torch.from_numpy(np.stack(singles)).permute(0, 3, 1, 2).contiguous()
    before = batch.clone()
    each = [torch.tensor(arguments, dtype=torch.float64)] if has_argument else []
    found = getattr(batch_operations, name)(batch, *each, *fill)
    assert found.dtype == torch.uint8
    assert torch.equal(batch, before)
    return torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2), found


@pytest.mark.parametrize('name', PLAIN)
def test_what_leaves_pixels_in_place_is_the_same_to_the_bit(name):
    for image in images():
        expected, found = one_by_one_and_together(name, image, PLAIN[name][-1])
        if name in ROUNDED_BY_OPENCV and cv2.__version__ < '5':  # of any order of its operations
            torch.testing.assert_close(found.int(), expected.int(), rtol=0, atol=1)
        else:
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize('name', MOVING)
def test_what_moves_pixels_is_one_grey_level_apart_in_at_most_two_values_of_a_thousand(name):
    for image in images():
        expected, found = one_by_one_and_together(name, image, MOVING[name][-1])
        difference = (found.int() - expected.int()).abs()
        if name == 'rotate' and cv2.__version__ < '5':  # OpenCV 4 rounds coordinates to 1/32 of a pixel
            assert difference.float().mean() < 1
        else:
            assert difference.max() <= 1
            assert difference.count_nonzero() <= max(2, difference.numel() / 500)


def test_greys_are_opencvs():
    """Checks the fixed-point formula for all values of blue and green and some of red."""
    blue, green = torch.meshgrid(torch.arange(256), torch.arange(256), indexing='ij')
    for red in (0, 1, 77, 128, 254, 255):
        image = torch.stack([blue, green, torch.full_like(blue, red)]).to(torch.uint8)
        expected = cv2.cvtColor(image.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_BGR2GRAY)
        np.testing.assert_array_equal(batch_operations.grey(image[None])[0, 0], expected)


def test_each_operation_has_one_for_batches():
    names = {*PLAIN, *MOVING}
    assert {operation.apply_to_batch.__name__ for operation in OPERATIONS} == names


@pytest.mark.parametrize('operation', OPERATIONS, ids=lambda operation: operation.apply.__name__)
def test_nothing_waits_for_the_device(operation):
    """On the meta device, reading a result would be an error."""
    images = torch.empty(3, 3, 20, 30, dtype=torch.uint8, device='meta')
    arguments = torch.empty(3, dtype=torch.float64, device='meta')
    assert operation.apply_to_batch(images, *operation.settings(arguments)).shape == images.shape
