"""Uploads stay small and complete, are treated as data, and get names chosen by us."""

import re
import struct
import time
import zlib
from io import BytesIO
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from mmconvnext.errors import UserError
from mmconvnext.page import uploads as module
from mmconvnext.page.uploads import Uploads, check_image, display_name, sniff
from tests.pages import noise


def image_bytes(kind, height=10, **options):
    file = BytesIO()
    Image.new('RGB', (20, height), 'teal').save(file, kind, **options)
    return file.getvalue()


def phone_bytes():
    """Return a JPEG that is followed by a second picture."""
    return image_bytes('MPO', save_all=True, append_images=[Image.new('RGB', (20, 10), 'red')])


def checkpoint_bytes():
    file = BytesIO()
    torch.save({'weight': torch.zeros(3)}, file)
    return file.getvalue()


def bomb(width, height):
    """Return a PNG of a few bytes whose header claims the given size."""

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(b''))
        + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize(
    'name',
    ['../../evil.png', 'x' * 5000 + '.png', '<b>x</b>', 'CON', '', 'a\0b\n.png', '..', '.profile'],
)
def test_names_of_users_never_reach_the_disk(name, tmp_path):
    upload = Uploads(tmp_path, 1, checkpoints=False).store(BytesIO(noise(0)), name)
    assert [path.name for path in tmp_path.rglob('*')] == [upload.path.name]
    assert re.fullmatch(r'[0-9a-f]{32}\.png', upload.path.name)
    assert upload.path.read_bytes() == noise(0)


def test_shown_names_are_short_and_can_be_seen():
    assert display_name('../../evil.png') == 'evil.png'
    assert display_name('C:\\cats\\cat.png') == 'cat.png'
    assert display_name('a\u202egnp.exe\n\x1b[31m') == 'agnp.exe[31m'
    assert display_name('') == display_name('/') == 'unnamed'
    assert len(display_name('x' * 5000)) == 80


@pytest.mark.parametrize(
    ('content', 'suffix'),
    [
        *((image_bytes(kind), suffix) for kind, suffix in module.IMAGES.items()),
        (image_bytes('PPM'), '.bin'),
        (checkpoint_bytes(), '.pth'),
        (struct.pack('<Q', 2) + b'{}', '.safetensors'),
        (image_bytes('GIF', height=0x7B), '.gif'),  # a byte of the header is a brace
        (phone_bytes(), '.jpg'),
        (b'#!/bin/sh\nexit\n', '.bin'),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', '.bin'),
        (b'', '.bin'),
    ],
)
def test_types_are_told_by_the_content(content, suffix):
    assert sniff(BytesIO(content)) == suffix


def test_too_large_files_and_unwanted_checkpoints_leave_nothing_behind(tmp_path):
    uploads = Uploads(tmp_path, 0.001, checkpoints=False)
    with pytest.raises(UserError, match=r'^big.png has 0.0 MB; at most 0.001 MB'):
        uploads.store(BytesIO(noise(0, 64)), 'big.png')
    with pytest.raises(UserError, match='takes images only'):
        uploads.store(BytesIO(checkpoint_bytes()), 'small.png')
    assert not list(tmp_path.iterdir())


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path):
    class Broken(BytesIO):
        def read(self, size=-1):
            if size > 16:
                raise OSError('no space')
            return super().read(size)

    with pytest.raises(OSError, match='no space'):
        Uploads(tmp_path, 1, checkpoints=False).store(Broken(b'x' * 100), 'a.png')
    assert not list(tmp_path.iterdir())


def test_checkpoints_may_be_larger_than_images(tmp_path):
    upload = Uploads(tmp_path, 0.0001, checkpoints=True).store(BytesIO(checkpoint_bytes()), 'x')
    assert upload.size > 100


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'nothing', 'is not an image'),
        (b'', 'is not an image'),
        (image_bytes('PPM'), 'is not an image'),
        (noise(0)[:20], 'image'),
        (bomb(9000, 9000), r'has 9,000 x 9,000 pixels; at most 64 million'),
        (bomb(10_000, 10_000), r'has 10,000 x 10,000 pixels; at most 64 million'),  # where Pillow warns
        (bomb(60000, 60000), 'has far more than 64 million pixels'),
    ],
)
def test_what_is_wrong_with_an_image_is_said(content, message, tmp_path):
    upload = Uploads(tmp_path, 1, checkpoints=False).store(BytesIO(content), 'a.png')
    with pytest.raises(UserError, match=message):
        check_image(upload)


def test_the_path_of_an_image_is_never_told(tmp_path):
    upload = Uploads(tmp_path, 1, checkpoints=False).store(BytesIO(noise(0)), 'a.png')
    upload.path.unlink()
    with pytest.raises(UserError, match=r'^is not kept any more; upload it again$'):
        check_image(upload)
    upload.path.mkdir()
    with pytest.raises(UserError, match=r'^is a broken image: ') as caught:
        check_image(upload)
    assert 'a.png' in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_uploads_are_found_by_their_path_alone(tmp_path):
    uploads = Uploads(tmp_path, 1, checkpoints=False)
    upload = uploads.store(BytesIO(noise(0)), 'a.png')
    assert uploads.find(str(upload.path)) == upload
    assert str(upload.path) in uploads
    (tmp_path / 'b.png').write_bytes(noise(1))
    assert str(tmp_path / 'b.png') not in uploads
    assert [str(upload.path)] not in uploads
    with pytest.raises(UserError, match='upload it again'):
        uploads.find(str(tmp_path / 'b.png'))
    upload.path.unlink()
    with pytest.raises(UserError, match='upload it again'):
        uploads.find(str(upload.path))


def test_the_oldest_of_too_many_uploads_go(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_STORED', 3)
    size = len(noise(0)) / 1e6
    uploads = Uploads(tmp_path, 1.05 * size, checkpoints=False)
    paths = [uploads.store(BytesIO(noise(0)), 'a.png').path for _ in range(5)]
    assert [path.exists() for path in paths] == [False, False, True, True, True]


def test_all_that_is_old_goes_though_nobody_uploads(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'TIDIED_SECONDS', 0.01)
    uploads = Uploads(tmp_path, 1, checkpoints=False)
    path = uploads.store(BytesIO(noise(0)), 'a.png').path
    (tmp_path / 'made').mkdir()
    (tmp_path / 'made/results.csv').write_text('a table')
    with uploads.tidying():
        time.sleep(0.2)
        assert len(list(tmp_path.rglob('*'))) == 3
        # Only the clock of this module: servers of other tests use the real one.
        monkeypatch.setattr(module, 'time', SimpleNamespace(time=lambda: time.time() + 3000))
        time.sleep(0.2)
        assert path.exists()
        monkeypatch.setattr(module, 'time', SimpleNamespace(time=lambda: time.time() + 8000))
        while list(tmp_path.iterdir()):
            time.sleep(0.01)
    assert str(path) not in uploads
