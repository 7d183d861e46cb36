"""Inputs for tests of the page: images, and a small network with clear predictions."""

from dataclasses import asdict
from io import BytesIO

import numpy as np
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmconvnext.images.preprocessing import Preprocessing
from tests.conftest import TINY_ARCH

SIZE = 32
# Neither a page may treat these as markup, nor a spreadsheet as formulas.
CLASSES = tuple(f'=<i>kind {i}</i>' for i in range(12))


def noise(seed, size=SIZE):
    """Return the bytes of a PNG that is different for every seed."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (4, 4, 3)) * rng.random(3)
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).resize((size, size)).save(file, 'PNG')
    return file.getvalue()


def save_checkpoint(file, seed=0):
    """Save the weights of a network whose predictions are random but confident."""
    init_default_scope('mmpretrain')
    torch.manual_seed(seed)
    head = dict(type='mmconvnext.LinearClsHead', num_classes=len(CLASSES), in_channels=32)
    model = MODELS.build(
        dict(type='ImageClassifier', backbone=dict(type='mmconvnext.ConvNeXt', arch=TINY_ARCH), head=head)
    )
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=1 if name.startswith('head') else 0.3)
    told = dict(backbone={}, preprocessing=asdict(Preprocessing(size=SIZE, resize=None)))
    meta = dict(mmconvnext=told, dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), file)
    return file
