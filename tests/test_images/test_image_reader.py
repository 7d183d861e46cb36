"""All ways to read an image follow the same rules."""

import io
import struct
import subprocess
import sys
import threading
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image, ImageOps

from mmconvnext.datasets import LoadImage
from mmconvnext.errors import UserError
from mmconvnext.images import reader as reading_images
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.images.reader import MAX_PIXELS, ImageError, ImageReader
from mmconvnext.memory import PixelBudget

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
    with pytest.raises(UserError, match='floating point pixels from 0 to .* unknown which value is white'):
        ImageReader().from_pil(Image.fromarray(floats))
    assert np.array_equal(ImageReader('grayscale', 1.0).from_array(floats), floats)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'in no supported format'),
        (encoded(RGB)[:-20], None),
        (encoded(RGB, 'JPEG')[:-20], None),
        (encoded(Image.new('1', (8001, 8000))), 'has 8,001 x 8,000 pixels; at most 64,000,000'),
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


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack('>H', len(content) + 2) + content


def with_scans(count, **settings):
    """Return a JPEG whose last scan is repeated."""
    content = encoded(RGB.resize((64, 64)), 'JPEG', **settings)
    last = content[content.rindex(b'\xff\xda') : -2]
    return content[:-2] + last * (count - content.count(b'\xff\xda')) + b'\xff\xd9'


def fails(content, path):
    """Return the error message, or None, of each way to read a file."""
    path.write_bytes(content)
    for read in (lambda: ImageReader().from_bytes(content), lambda: ImageReader().from_pil(Image.open(path))):
        try:
            read()
            yield None
        except ImageError as error:
            yield str(error)


@pytest.mark.parametrize('progressive', [True, False])
def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded(progressive, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageReader, 'by_opencv', lambda *_: pytest.fail('decoded'))
    monkeypatch.setattr(ImageReader, 'by_pillow', lambda *_: pytest.fail('decoded'))
    content = with_scans(101, progressive=progressive)
    # Padding bytes and a comment between the scans do not hide them.
    hidden = content.replace(b'\xff\xda', b'\xff\xfe\0\4\xff\xd9\0\xff\xff\xda')
    for message in [*fails(content, tmp_path / 'a'), *fails(hidden, tmp_path / 'b')]:
        assert 'more than 100 scans' in message


def test_honest_jpegs_are_read_whatever_their_other_parts_hold(tmp_path):
    marks = b'\xff\xda' * 1000
    photo = encoded(RGB, 'JPEG', progressive=True)
    thumbnail = photo[:2] + segment(0xE1, marks) + photo[2:]
    film = photo + marks + b'\xff\xd9'
    for content in (thumbnail, film, with_scans(100, progressive=True)):
        assert list(fails(content, tmp_path / 'a')) == [None, None]


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I', 'I;16', 'YCbCr'])
@pytest.mark.parametrize('color', ['color', 'grayscale', 'unchanged'])
def test_pixels_are_the_same_strip_by_strip(mode, color, monkeypatch):
    image = DEEP if mode == 'I;16' else RGB.convert(mode)
    if mode == 'P':
        image.info['transparency'] = 3
    whole = ImageReader(color).from_pil(image)
    monkeypatch.setattr(reading_images, 'STRIP_PIXELS', 17 * 5)
    assert np.array_equal(ImageReader(color).from_pil(image), whole)


@pytest.mark.parametrize('kept', [False, True])
def test_threads_hold_no_more_pixels_together_than_one_picture_may_have(kept, monkeypatch):
    decode, lock, now, most = ImageReader.by_pillow, threading.Lock(), [0], [0]

    def count(change):
        with lock:
            now[0] += change
            most[0] = max(most[0], now[0])

    def decoded(reader, image):
        count(1)
        threading.Event().wait(0.05)
        try:
            return decode(reader, image)
        finally:
            if not kept:
                count(-1)

    def read():
        with shared.kept() if kept else nullcontext():
            ImageReader().from_bytes(content)
            if kept:
                threading.Event().wait(0.05)
                count(-1)

    shared, content = PixelBudget(2 * 12 * 17), encoded(RGB, 'TIFF')
    monkeypatch.setattr(ImageReader, 'by_pillow', decoded)
    monkeypatch.setattr(reading_images, 'budget', shared)
    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 2 and now[0] == 0
    assert shared.free == shared.pixels


def test_a_picture_above_the_budget_is_decoded_alone_and_errors_give_it_back(monkeypatch):
    shared = PixelBudget(5)
    monkeypatch.setattr(reading_images, 'budget', shared)
    assert ImageReader().from_bytes(encoded(RGB, 'TIFF')).shape == (12, 17, 3)
    with shared.kept(), pytest.raises(ImageError):
        ImageReader().from_bytes(encoded(RGB)[:-20])
    assert shared.free == shared.pixels == 5


@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
@pytest.mark.parametrize(
    'settings',
    [
        *(dict(quality=1), dict(quality=90), dict(lossless=True), dict(lossless=True, exact=True)),
        *(dict(quality=60, alpha_quality=10), dict(save_all=True), dict(save_all=True, minimize_size=True)),
    ],
)
def test_webp_has_the_pixels_that_pillow_reads(mode, settings):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, len(mode)), dtype=np.uint8)
    pixels = cv2.resize(pixels, (53, 47), interpolation=cv2.INTER_CUBIC)
    if mode == 'RGBA':
        pixels[:20, :20, 3] = 0
    for orientation, frames in ((1, 0), (6, 0), (1, 2)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        more = [Image.fromarray(pixels[::-1].copy())] * frames
        options = settings | (dict(save_all=True, append_images=more) if more else {})
        content = encoded(Image.fromarray(pixels), 'WEBP', exif=exif, **options)
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        found = ImageReader('unchanged').from_bytes(content)
        assert np.array_equal(found, expected[..., [2, 1, 0, 3][: expected.shape[2]]])
        found = ImageReader().from_bytes(content)
        assert np.array_equal(found, expected[..., 2::-1])
        with pytest.raises(ImageError):
            ImageReader().from_bytes(content[:-20])


PEAK = """
import sys
from mmconvnext.images.reader import ImageReader

def peak():
    lines = open('/proc/self/status').read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) * 1024

before = peak()
ImageReader().from_bytes(open(sys.argv[1], 'rb').read())
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_the_largest_webp_needs_less_than_a_gigabyte(mode, tmp_path):
    Image.new(mode, (3000, 3000), 77).save(tmp_path / 'a.webp', quality=1, method=0)
    found = subprocess.run([sys.executable, '-c', PEAK, tmp_path / 'a.webp'], capture_output=True, check=True)
    assert int(found.stdout) * MAX_PIXELS / 9e6 < 1e9


@pytest.mark.filterwarnings('error')
def test_only_our_own_limit_is_told_and_pillows_is_as_before():
    """Pillow would warn of this size."""
    limit = Image.MAX_IMAGE_PIXELS
    image = encoded(Image.new('1', (10_000, 10_000)))
    with pytest.raises(ImageError, match='10,000 x 10,000 pixels; at most 64,000,000 are allowed'):
        ImageReader().from_bytes(image)
    assert ImageReader(max_pixels=10**8).from_bytes(image).shape == (10_000, 10_000, 3)
    assert Image.MAX_IMAGE_PIXELS is limit


def test_jpeg_2000_has_half_the_limit():
    image = RGB.resize((80, 80))
    for kind in ('PNG', 'JPEG2000'):
        assert ImageReader(max_pixels=12_800).from_bytes(encoded(image, kind)).shape == (80, 80, 3)
    assert ImageReader(max_pixels=12_799).from_bytes(encoded(image)).shape == (80, 80, 3)
    with pytest.raises(ImageError, match='80 x 80 pixels; at most 6,399 are allowed'):
        ImageReader(max_pixels=12_799).from_bytes(encoded(image, 'JPEG2000'))


def test_files_that_need_a_setting_of_the_loader_are_named(tmp_path):
    file = tmp_path / 'float.tif'
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(file)
    with pytest.raises(UserError, match=r'float\.tif has floating point pixels.*set full_scale') as raised:
        LoadImage()(dict(img_path=str(file)))
    assert not isinstance(raised.value, ImageError)  # which training would replace
