"""What users upload: limited, checked, and stored under names of our own."""

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
from ..images.reader import MAX_PIXELS

# Formats of images -> how their files are called here.
IMAGES = {'JPEG': '.jpg', 'PNG': '.png', 'WEBP': '.webp', 'GIF': '.gif', 'BMP': '.bmp', 'TIFF': '.tif'}
MAX_CHECKPOINT_MEGABYTES = 4096  # Huge in fp32 has 2,640, and optimizers write more
KEPT_SECONDS = 3600
TIDIED_SECONDS = 60  # how often is looked for what is older
# Of all uploads together, in units of the largest that is allowed; the oldest go first.
MAX_STORED = 200
MAX_FILES = 64  # of one upload, and images of one batch
MAX_NAME_LENGTH = 80
GONE = 'is not kept any more; upload it again'


@dataclass(frozen=True)
class Upload:
    """A file of a user.

    Attributes:
        path: where it lies, under a random name.
        name: what its user calls it; only ever shown.
        size: in bytes.
    """

    path: Path
    name: str
    size: int

    def told(self, error: str) -> str:
        """What an error says of the file, by the name that its user knows."""
        return error.replace(str(self.path), self.name)


class Uploads:
    """The uploads of the last hour, in a folder where only gradio's pictures and tables lie beside them.

    Args:
        folder: exists, and only we may look into it.
        most_megabytes: of a file that is no checkpoint.
        checkpoints: whether checkpoints are taken, too.
    """

    def __init__(self, folder: Path, most_megabytes: float, *, checkpoints: bool):
        self.folder, self.most_megabytes, self.checkpoints = folder, most_megabytes, checkpoints
        self._stored, self._lock = {}, Lock()

    @property
    def most_bytes(self) -> int:
        """The largest size of an upload of any kind, in bytes."""
        most = max(self.most_megabytes, MAX_CHECKPOINT_MEGABYTES if self.checkpoints else 0)
        return int(most * 1e6)

    def store(self, file: BinaryIO, name: str) -> Upload:
        """Keep a file for an hour.

        Raises:
            UserError: it is too large, or a checkpoint where none is taken.
        """
        name = shown(name)
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
        """The upload that lies there.

        Raises:
            UserError: there is none.
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
        """Tidy up every minute, whether or not somebody uses the page."""
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
        """Delete what has lain in the folder for an hour: uploads, and what gradio wrote for the page."""
        latest = time.time() - KEPT_SECONDS
        for path in sorted(self.folder.rglob('*'), reverse=True):  # what a folder has comes before it
            with suppress(OSError):  # gone meanwhile; or a folder that has files
                if path.lstat().st_ctime < latest:  # a copy may keep an older time of change
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
    """How files with such a content are called; never what the user calls it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if head.startswith((b'PK\x03\x04', b'\x80')):  # torch.save's archive, or the pickle that it was
        return '.pth'
    if head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < size:  # behind the length of the header
        return '.safetensors'
    try:
        file.seek(0)
        with Image.open(file, formats=list(IMAGES)) as image:
            return IMAGES['JPEG' if image.format == 'MPO' else image.format]  # a phone's, with more pictures
    except Exception:  # decoders raise what they like; why is told when it is used
        return '.bin'


def check_checkpoint(upload: Upload) -> None:
    if upload.path.suffix not in ('.pth', '.safetensors'):
        raise UserError(f'{upload.name} is no checkpoint; expected .safetensors, or .pth of torch.save')


def check_size(name: str, size: int, most_megabytes: float) -> None:
    if size > most_megabytes * 1e6:
        raise UserError(f'{name} has {size / 1e6:.1f} MB; at most {most_megabytes:g} MB are taken')


def check_image(upload: Upload) -> None:
    """Raise unless a file begins as an image of a known format that fits into memory.

    Raises:
        UserError: what is wrong, as the end of a sentence about it.
    """
    try:
        with Image.open(upload.path, formats=list(IMAGES)) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise UserError(f'is no image, or a broken one; expected {", ".join(IMAGES)}') from error
    except Image.DecompressionBombError as error:
        raise UserError(f'has far more than {MAX_PIXELS / 1e6:g} million pixels') from error
    except FileNotFoundError as error:
        raise UserError(GONE) from error
    except Exception as error:  # decoders raise what they like
        raise UserError(f'is a broken image: {upload.told(str(error))}') from error
    if width * height > MAX_PIXELS:
        raise UserError(f'has {width:,} x {height:,} pixels; at most {MAX_PIXELS / 1e6:g} million are taken')


def shown(name: str) -> str:
    """A name of a user's as the page shows it: its last part, in letters that can be seen."""
    name = name.replace('\\', '/').rpartition('/')[2]
    name = ''.join(c for c in name if c.isprintable()) or 'unnamed'
    return name if len(name) <= MAX_NAME_LENGTH else f'{name[: MAX_NAME_LENGTH - 1]}…'
