"""Images in .npy files, with any number of channels."""

import io
import pickle
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mmconvnext.datasets import LoadImage
from mmconvnext.datasets.broken import check_whole
from mmconvnext.datasets.walking import images_below
from mmconvnext.images.array_file import MAGIC
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.images.reader import ImageError, ImageReader
from mmconvnext.reports.pictures import displayed
from tests.tiffs import tiff


def saved(array, **settings) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **settings)
    return file.getvalue()


def values(*shape, kind=np.uint8):
    return np.random.default_rng(0).integers(0, 120, shape).astype(kind)


@pytest.mark.parametrize('kind', ['u1', 'i1', '<u2', '>u2', '<i4', '>f4', '<f2', '<f8', '<i8', '>u4'])
@pytest.mark.parametrize('shape', [(6, 7), (6, 7, 1), (6, 7, 2), (6, 7, 5), (6, 7, 12)])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_numbers_are_kept_as_stored(kind, shape, order):
    array = np.asarray(values(*shape).astype(kind), order=order)
    pixels = ImageReader('unchanged').from_bytes(saved(array))
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels, array[..., 0] if shape[2:] == (1,) else array)


def test_three_channels_are_rgb_as_in_a_png(tmp_path):
    array = values(8, 9, 3)
    file = io.BytesIO()
    Image.fromarray(array).save(file, 'PNG')
    (tmp_path / 'a.npy').write_bytes(saved(array))
    assert [path.name for path in images_below(tmp_path)] == ['a.npy']
    for color in ('color', 'grayscale', 'unchanged'):
        expected = ImageReader(color).from_bytes(file.getvalue())
        np.testing.assert_array_equal(ImageReader(color).from_bytes(saved(array)), expected)
        loaded = LoadImage(color_type=color)(dict(img_path=str(tmp_path / 'a.npy')))['img']
        np.testing.assert_array_equal(loaded, expected)
    prepare = Preprocessing(size=8, resize=None)
    assert prepare(Image.fromarray(array)).equal(prepare(array))
    deep = values(8, 9, 3, kind=np.uint16) * 500
    np.testing.assert_array_equal(ImageReader().from_bytes(saved(deep)), deep[..., ::-1] >> 8)


def test_arrays_beside_other_images_are_not_images(tmp_path):
    """They are usually masks or features of these images."""
    for name in ('a.npy', 'b.NPY'):
        (tmp_path / name).write_bytes(saved(values(4, 4)))
    skipped = Counter()
    assert len([*images_below(tmp_path, skipped)]) == 2
    Image.new('L', (4, 4)).save(tmp_path / 'c.png')
    assert [path.name for path in images_below(tmp_path, skipped)] == ['c.png']
    assert skipped == {'.npy': 2}


def npy(header: str, numbers=b'') -> bytes:
    text = header.encode('latin1') + b'\n'
    return MAGIC + b'\1\0' + len(text).to_bytes(2, 'little') + text + numbers


def plain(shape='(4, 4)', descr="'|u1'", order='False', numbers=bytes(16)):
    return npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}", numbers)


class Evil:
    def __reduce__(self):
        return sys.exit, (3,)


HOSTILE = {
    'objects': saved(np.array([[Evil()]], dtype=object), allow_pickle=True),
    'a pickle behind a plain header': plain(descr="'|O'", numbers=pickle.dumps(Evil())),
    'records': saved(np.zeros((4, 4), dtype=[('a', 'u1'), ('b', 'f4')])),
    'arrays in an array': plain(descr="('|u1', (4,))"),
    'complex': saved(np.zeros((4, 4), np.complex64)),
    'texts': saved(np.array([['a', 'b']])),
    'times': saved(np.zeros((4, 4), 'M8[s]')),
    'long numbers': saved(np.zeros((4, 4), np.longdouble)),
    'huge': plain('(99999999, 99999999, 5)'),
    'more digits': plain(f'({"9" * 5000}, 4)'),
    'shorter': plain('(4, 5)'),
    'longer': plain('(4, 3)'),
    'two arrays': saved(values(4, 4)) * 2,
    'nothing': plain('(0, 4)', numbers=b''),
    'below zero': plain('(-4, -4)'),
    'a scalar': plain('()', numbers=bytes(1)),
    'a line': plain('(16,)'),
    'a video': saved(values(2, 4, 4, 3)),
    'channels first of a thousand': saved(values(2, 2, 1000)),
    'code': npy("__import__('os').abort()"),
    'brackets': npy('(' * 900),
    'a long header': npy(' ' * 60_000),
    'no header': MAGIC,
    'another version': MAGIC + b'\3\0' + bytes(100),
    'no numbers': saved(np.full((4, 4, 5), np.nan, np.float32)),
    'beyond 32 bits': saved(np.full((4, 4), 2**40)),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_what_is_no_array_of_an_image_ends_in_a_message(kind, tmp_path):
    (tmp_path / 'a.npy').write_bytes(HOSTILE[kind])
    for read in (
        lambda: ImageReader('unchanged').from_bytes(HOSTILE[kind]),
        lambda: LoadImage(color_type='unchanged')(dict(img_path=str(tmp_path / 'a.npy'))),
        lambda: check_whole(str(tmp_path / 'a.npy'), len(HOSTILE[kind])),
    ):
        with pytest.raises(ImageError) as raised:
            read()
        assert len(str(raised.value)) < 400


def test_the_limit_on_pixels_holds():
    with pytest.raises(ImageError, match='has 9 x 8 pixels; at most 70 are allowed'):
        ImageReader('unchanged', max_pixels=70).from_bytes(saved(values(8, 9, 5)))


@pytest.mark.parametrize('channels', [4, 5, 6, 7, 12])
@pytest.mark.parametrize('photometric', [1, 2])
def test_a_tiff_is_read_with_all_channels_or_not_at_all(channels, photometric):
    content = tiff(values(6, 7, channels), photometric)
    with pytest.raises(ImageError, match='npy'):
        ImageReader('unchanged').from_bytes(content)


def test_a_tiff_with_alpha_keeps_it():
    array = values(6, 7, 4)
    file = io.BytesIO()
    Image.fromarray(array, 'RGBA').save(file, 'TIFF')
    pixels = ImageReader('unchanged').from_bytes(file.getvalue())
    np.testing.assert_array_equal(pixels, array[..., [2, 1, 0, 3]])


def test_pictures_for_people_show_the_first_channels():
    array = values(6, 7, 5)
    np.testing.assert_array_equal(displayed(array), array[..., :3])
