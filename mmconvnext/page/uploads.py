"""Uploads of users: limited, checked, and stored under random names."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from ..images.pillow_limit import pillow_limit
from ..images.reader import MAX_PIXELS

# Image formats -> file suffixes.
IMAGES = {'JPEG': '.jpg', 'PNG': '.png', 'WEBP': '.webp', 'GIF': '.gif', 'BMP': '.bmp', 'TIFF': '.tif'}
MAX_CHECKPOINT_MEGABYTES = 4096  # Huge in fp32 has 2,640, and optimizers write more
KEPT_SECONDS = 3600
TIDIED_SECONDS = 60  # interval of the search for older files
# Size of all uploads together, in units of the maximum upload; the oldest are deleted first.
MAX_STORED = 200
MAX_FILES = 64  # files per upload, and images per batch
MAX_NAME_LENGTH = 80
GONE = 'is not kept any more; upload it again'


@dataclass(frozen=True)
class Upload:
    """A file of a user.

    Attributes:
        path: path with a random name.
        name: name given by the user, which is only displayed.
        size: size in bytes.
    """

    path: Path
    name: str
    size: int

    def told(self, error: str) -> str:
        """Return an error message with the user's name for the file."""
        return error.replace(str(self.path), self.name)


class Uploads:
    """The uploads of the last hour, in a folder that only also has pictures and tables of gradio.

    Args:
        folder: existing private folder.
        most_megabytes: maximum size of files other than checkpoints.
        checkpoints: whether checkpoints are accepted.
    """

    def __init__(self, folder: Path, most_megabytes: float, *, checkpoints: bool):
        self.folder, self.most_megabytes, self.checkpoints = folder, most_megabytes, checkpoints
        self._stored, self._lock = {}, Lock()

    @property
    def most_bytes(self) -> int:
        """The maximum size of any upload in bytes."""
        most = max(self.most_megabytes, MAX_CHECKPOINT_MEGABYTES if self.checkpoints else 0)
        return int(most * 1e6)

    def store(self, file: BinaryIO, name: str) -> Upload:
        """Keep a file for an hour.

        Raises:
            UserError: the file is too large, or a checkpoint although none are accepted.
        """
        name = display_name(name)
        size, suffix = file.seek(0, os.SEEK_END), sniff(file)
        checkpoint = suffix in ('.pth', '.safetensors')
        if checkpoint and not self.checkpoints:
            raise UserError(f'{name} is a checkpoint; this page takes images only')
        check_size(name, size, MAX_CHECKPOINT_MEGABYTES if checkpoint else self.most_megabytes)
        upload = Upload(self.folder / f'{secrets.token_hex(16)}{suffix}', name, size)
        file.seek(0)
        try:
            with upload.path.open('xb') as target:
                shutil.copyfileobj(file, target)
        except BaseException:
            upload.path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._stored[str(upload.path)] = upload
            self._make_room()
        return upload

    def find(self, path: str) -> Upload:
        """Return the upload with a path.

        Raises:
            UserError: there is no such upload.
        """
        with self._lock:
            upload = self._stored.get(path)
        if upload is None or not upload.path.exists():
            raise UserError(f'this upload {GONE}')
        return upload

    def __contains__(self, path: object) -> bool:
        with self._lock:
            return isinstance(path, str) and path in self._stored

    @contextmanager
    def tidying(self) -> Iterator[None]:
        """Delete old files every minute, even if nobody uses the page."""
        ended = Event()

        def run() -> None:
            while not ended.wait(TIDIED_SECONDS):
                self.tidy()

        thread = Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def tidy(self) -> None:
        """Delete files older than an hour: uploads, and files of gradio for the page."""
        latest = time.time() - KEPT_SECONDS
        for path in sorted(self.folder.rglob('*'), reverse=True):  # files come before their folder
            with suppress(OSError):  # already deleted, or a folder with files
                if path.lstat().st_ctime < latest:  # copies may keep an older modification time
                    path.rmdir() if path.is_dir() else path.unlink()
        with self._lock:
            self._stored = {path: upload for path, upload in self._stored.items() if upload.path.exists()}

    def _make_room(self) -> None:
        room = MAX_STORED * self.most_megabytes * 1e6 + self.checkpoints * self.most_bytes
        total = sum(upload.size for upload in self._stored.values())
        for path, upload in list(self._stored.items())[:-1]:
            if total <= room:
                break
            upload.path.unlink(missing_ok=True)
            del self._stored[path]
            total -= upload.size


def sniff(file: BinaryIO) -> str:
    """Return the suffix for a file from its content, independent of the user's name."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if head.startswith((b'PK\x03\x04', b'\x80')):  # archive of torch.save, or its older pickle
        return '.pth'
    if head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < size:  # after the length of the header
        return '.safetensors'
    try:
        file.seek(0)
        with pillow_limit.at_least(), Image.open(file, formats=list(IMAGES)) as image:
            # MPO: a JPEG from a phone, with several pictures.
            return IMAGES['JPEG' if image.format == 'MPO' else image.format]
    except Exception:  # decoders raise what they like; why is told when it is used
        return '.bin'


def check_checkpoint(upload: Upload) -> None:
    if upload.path.suffix not in ('.pth', '.safetensors'):
        raise UserError(f'{upload.name} is not a checkpoint; expected .safetensors, or .pth of torch.save')


def check_size(name: str, size: int, most_megabytes: float) -> None:
    if size > most_megabytes * 1e6:
        raise UserError(f'{name} has {size / 1e6:.1f} MB; at most {most_megabytes:g} MB are taken')


def check_image(upload: Upload) -> None:
    """Raise UserError unless a file starts as an image of a known format and allowed size.

    Raises:
        UserError: the error, as the end of a sentence about the file.
    """
    try:
        with pillow_limit.at_least(), Image.open(upload.path, formats=list(IMAGES)) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise UserError(f'is not an image, or is broken; expected {", ".join(IMAGES)}') from error
    except Image.DecompressionBombError as error:
        raise UserError(f'has far more than {MAX_PIXELS / 1e6:g} million pixels') from error
    except FileNotFoundError as error:
        raise UserError(GONE) from error
    except Exception as error:  # decoders raise what they like
        raise UserError(f'is a broken image: {upload.told(str(error))}') from error
    if width * height > MAX_PIXELS:
        raise UserError(f'has {width:,} x {height:,} pixels; at most {MAX_PIXELS / 1e6:g} million are taken')


def display_name(name: str) -> str:
    """Return a user's file name for display: its last part, in visible characters."""
    name = name.replace('\\', '/').rpartition('/')[2]
    name = ''.join(c for c in name if c.isprintable()) or 'unnamed'
    return name if len(name) <= MAX_NAME_LENGTH else f'{name[: MAX_NAME_LENGTH - 1]}…'
