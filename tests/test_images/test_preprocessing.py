"""Preprocessing gives the same pixels as the evaluation code of each source."""

import io

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from PIL import Image
from timm.data import create_transform
from torchvision.models import ConvNeXt_Base_Weights, ConvNeXt_Small_Weights, ConvNeXt_Tiny_Weights

from mmconvnext.checkpoints.transformers_directory import config_of_preprocessing, preprocessing_of_config
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.zoo import get_entry, list_models

# Both orientations, odd margins, and images smaller than the crop.
SIZES = [(331, 258), (200, 333), (500, 375), (97, 61)]


def image_of(size):
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height // 7 + 1, width // 7 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.BICUBIC)


def kinds(source):
    """Return one entry for each kind of preprocessing of each source."""
    entries = map(get_entry, list_models(source=source))
    return list({entry.preprocessing: entry for entry in entries}.values())


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('entry', kinds('timm'), ids=lambda e: e.name)
def test_same_as_timm(entry, size):
    import timm

    cfg = timm.models.get_pretrained_cfg(entry.name)
    theirs = create_transform(
        cfg.input_size,
        interpolation=cfg.interpolation,
        mean=cfg.mean,
        std=cfg.std,
        crop_pct=cfg.crop_pct,
        crop_mode=cfg.crop_mode or 'center',
    )
    image = image_of(size)
    torch.testing.assert_close(entry.preprocessing(image), theirs(image), rtol=0, atol=2e-6)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('weights', [ConvNeXt_Tiny_Weights, ConvNeXt_Small_Weights, ConvNeXt_Base_Weights])
def test_same_as_torchvision(weights, size):
    theirs = weights.IMAGENET1K_V1.transforms(antialias=True)
    image = image_of(size)
    ours = get_entry(f'{weights.__name__}.IMAGENET1K_V1').preprocessing
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=2e-6)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize(
    'config',
    [
        dict(size=dict(shortest_edge=224), crop_pct=0.875, resample=3),
        dict(size=dict(shortest_edge=224), crop_pct=224 / 256, resample=2),
        dict(size=dict(shortest_edge=288), crop_pct=0.95, resample=3),
        dict(size=dict(shortest_edge=384), crop_pct=1.0, resample=3),
    ],
)
def test_same_as_transformers(config, size):
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    statistics = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    theirs = ConvNextImageProcessorPil(**config, **statistics)
    image = image_of(size)
    expected = theirs(image, return_tensors='pt').pixel_values[0]
    ours = preprocessing_of_config(config | statistics)
    torch.testing.assert_close(ours(image), expected, rtol=0, atol=2e-6)
    # Pixels are identical.
    pixels = [
        ((x * torch.tensor(ours.std)[:, None, None] + torch.tensor(ours.mean)[:, None, None]) * 255).round()
        for x in (ours(image), expected)
    ]
    assert torch.equal(*pixels)


@pytest.mark.parametrize(
    ('preprocessing', 'processor'),
    [
        (Preprocessing(), 'ConvNextImageProcessor'),
        (Preprocessing(224, 235), 'ConvNextImageProcessor'),
        (Preprocessing(224, 236, 'bilinear'), 'ConvNextImageProcessor'),
        (Preprocessing(384, None), 'ConvNextImageProcessor'),
        (Preprocessing(384, 384), 'CLIPImageProcessor'),
        (Preprocessing(256, None), 'ViTImageProcessor'),
    ],
)
def test_preprocessor_config_says_the_same_to_transformers(preprocessing, processor, tmp_path):
    import json

    from transformers import AutoImageProcessor

    config = config_of_preprocessing(preprocessing)
    assert config['image_processor_type'] == processor
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(config))
    again = preprocessing_of_config(config)
    assert (again.size, again.resize, again.interpolation) == (
        preprocessing.size,
        preprocessing.resize,
        preprocessing.interpolation,
    )
    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend='pil')
    image = image_of((331, 258))
    expected = theirs(image, return_tensors='pt').pixel_values[0]
    torch.testing.assert_close(again(image), expected, rtol=0, atol=2e-6)


def test_pipeline_and_normalisation_of_mmpretrain_give_the_same_numbers(tmp_path):
    """Compares the input in tools/test.py, read from a file, with that of a call with an image."""
    init_default_scope('mmpretrain')
    file = tmp_path / 'image.png'
    image_of((331, 258)).save(file)
    for preprocessing in (Preprocessing(), Preprocessing(crop='floor'), Preprocessing(96, None)):
        steps = [dict(type='LoadImageFromFile'), *preprocessing.pipeline(), dict(type='PackInputs')]
        packed = Compose([TRANSFORMS.build(step) for step in steps])(dict(img_path=str(file)))
        normalise = MODELS.build(dict(type='ClsDataPreprocessor', **preprocessing.data_preprocessor()))
        inputs = normalise(dict(inputs=[packed['inputs']]))['inputs'][0]
        torch.testing.assert_close(inputs, preprocessing(Image.open(file)), rtol=0, atol=2e-6)


def test_grey_and_transparent_images_become_rgb():
    for mode in ('L', 'RGBA', 'P', 'CMYK'):
        assert Preprocessing(32, 36)(Image.new(mode, (50, 40))).shape == (3, 32, 32)
    buffer = io.BytesIO()
    Image.new('RGB', (50, 40)).save(buffer, 'JPEG')
    assert Preprocessing(32, 36)(np.zeros((40, 50, 3), np.uint8)).shape == (3, 32, 32)
