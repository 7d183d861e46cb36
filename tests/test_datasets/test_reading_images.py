"""One rule for the pixels of a picture, whichever door it comes through."""

import io

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from mmconvnext.datasets import LoadImage, Preprocessing
from mmconvnext.datasets.reading_images import ImageError, ImageReader
from mmconvnext.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)
DEEP = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)


def encoded(image: Image.Image, kind: str = 'PNG', **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@pytest.mark.parametrize('color', ['color', 'grayscale', 'unchanged'])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK', 'RGBA', 'P', 'LA', '1'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_file_bytes_and_pil_image_are_the_same(color, kind, mode, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    try:
        content = encoded(RGB.convert(mode), kind, exif=exif)
    except (OSError, KeyError):
        pytest.skip(f'{kind} does not hold {mode}')
    path = tmp_path / 'image'
    path.write_bytes(content)
    reader = ImageReader(color)
    pixels = reader.from_bytes(content)
    assert pixels.shape[:2] == ((17, 12) if orientation == 6 else (12, 17))
    assert np.array_equal(pixels, reader.from_pil(Image.open(path)))
    assert np.array_equal(pixels, LoadImage(color_type=color)(dict(img_path=str(path)))['img'])


def test_sixteen_bits_are_read_as_eight_or_kept():
    assert np.array_equal(ImageReader('grayscale').from_bytes(encoded(DEEP)), PIXELS[..., 0])
    kept = ImageReader('grayscale', 65535).from_bytes(encoded(DEEP))
    assert np.array_equal(kept, np.asarray(DEEP))
    assert np.array_equal(kept, ImageReader('grayscale', 65535).from_array(PIXELS[..., 0]))
    dark = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 16)
    with pytest.warns(UserWarning, match='full_scale=4095'):
        ImageReader().from_pil(dark)


def test_unknown_range_is_an_error_and_a_known_one_is_kept():
    floats = PIXELS[..., 0].astype(np.float32) / 255
    with pytest.raises(UserError, match='floating point pixels from 0 to .* range is unknown'):
        ImageReader().from_pil(Image.fromarray(floats))
    assert np.array_equal(ImageReader('grayscale', 1.0).from_array(floats), floats)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'no image of a known format'),
        (encoded(RGB)[:-20], None),
        (encoded(RGB, 'JPEG')[:-20], None),
        (encoded(Image.new('1', (20_000, 20_000))), 'pixels'),
    ],
)
def test_what_is_no_whole_picture_of_a_sensible_size_is_an_error(content, message):
    with pytest.raises(ImageError, match=message):
        ImageReader().from_bytes(content)


def test_preprocessing_of_other_sizes_channels_and_depths():
    gray = Preprocessing((20, 30), None, mean=(0.5,), std=(0.25,), color='gray')
    assert gray(RGB).shape == (1, 20, 30)
    deep = Preprocessing(12, 12, mean=(0.5,), std=(0.25,), color='gray', full_scale=65535)
    assert deep(DEEP).shape == (1, 12, 12)
    assert np.allclose(deep(DEEP), deep(PIXELS[..., 0]))
    five = Preprocessing(12, 12, mean=(0.5,) * 5, std=(0.25,) * 5, color='unchanged')
    assert five(np.dstack([PIXELS, PIXELS[..., :2]])).shape == (5, 12, 12)


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain', 'mmconvnext'])
def test_configs_of_every_scope_get_this_loader(scope):
    with DefaultScope.overwrite_default_scope(scope):
        assert type(TRANSFORMS.build(dict(type='LoadImageFromFile'))) is LoadImage
