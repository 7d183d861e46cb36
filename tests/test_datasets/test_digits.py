from hashlib import sha256

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmconvnext.datasets import Digits
from mmconvnext.errors import UserError


def contents(split):
    dataset = Digits(split)
    return [
        (info['img'][..., 0], info['gt_label']) for info in map(dataset.get_data_info, range(len(dataset)))
    ]


def test_splits_are_stratified_and_together_are_every_image_once():
    train, test = contents('train'), contents('test')
    assert (len(train), len(test)) == (1437, 360)
    assert np.bincount([label for _, label in test]).tolist() == [36] * 10
    images, labels = load_digits(return_X_y=True)
    everything = sorted(
        (tuple(row.astype(int)), int(label)) for row, label in zip(images, labels, strict=True)
    )
    found = sorted(
        (tuple(np.round(image.reshape(-1).astype(int) * 16 / 255).astype(int)), label)
        for image, label in train + test
    )
    assert found == everything


def test_held_out_images_are_the_same_on_every_machine():
    pixels = b''.join(image.tobytes() for image, _ in contents('test'))
    assert sha256(pixels).hexdigest()[:16] == '6b1f8156cb274100'


def test_unknown_split_is_an_error():
    with pytest.raises(UserError, match='choose train or test'):
        Digits('val')
