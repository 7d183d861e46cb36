"""Write files atomically, and open regular files only."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import UserError


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading bytes; never wait for a pipe or read a device.

    The opened file itself is checked, so the path cannot be replaced in between.

    Raises:
        OSError: the file does not exist or cannot be opened.
        UserError: the path is a folder, pipe, socket or device.
    """
    # Opening a pipe without a writer would block.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_CLOEXEC', 0))
    try:
        check_regular_mode(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, 'rb')
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: str | Path) -> None:
    """Raise unless the path is a regular file, for libraries that open files themselves.

    Raises:
        OSError: the file does not exist or cannot be looked at.
        UserError: the path is a folder, pipe, socket or device.
    """
    check_regular_mode(path, Path(path).stat().st_mode)


def check_regular_mode(path: str | Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a pipe', stat.S_IFSOCK: 'a socket'}
    kind = kinds.get(stat.S_IFMT(mode), 'a device')
    raise UserError(f'{path} is {kind}; expected a regular file')


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to the target on success and deleted on failure.

    Missing parent folders are created.
    """
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=f'.{target.name}.') as folder:
        part = Path(folder, target.name)
        yield part
        put_in_place(part, target)


def check_place(target: Path) -> None:
    """Raise UserError if the target exists or cannot be written."""
    if os.path.lexists(target):  # also for a broken link
        raise UserError(f'{target} exists already; delete it or choose another name')
    check_writable(target)


def check_new_file(out: str | Path, *suffixes: str) -> None:
    """Raise UserError before a long run if its file could not be written or would replace another."""
    if Path(out).suffix not in suffixes:
        raise UserError(f'{out}: expected the name of a file that ends in {" or ".join(suffixes)}')
    check_place(Path(out))


def check_new_folder(folder: str | Path) -> None:
    """Raise UserError unless a folder is new or empty and can be written to."""
    folder = Path(folder)
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f'{folder} is there and not an empty folder; name a new one for the annotated images')
    check_writable(folder / 'image')


def check_writable(target: Path) -> None:
    """Raise UserError unless a file can be created or replaced at the target; its folders may be missing."""
    try:
        there = next(path for path in target.absolute().parents if path.exists())
        if not there.is_dir():
            raise UserError(
                f'{target} cannot be written: {there} is a file and no folder; choose another name'
            )
        if target.is_dir():
            raise UserError(f'{target} is a folder; name a file in it')
        # Permissions do not show read-only file systems and full disks.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b'0')
    except OSError as error:
        raise UserError(f'{target} cannot be written: {error}; choose another name or folder') from error


def put_in_place(part: Path, target: Path) -> None:
    """Rename a file or folder after flushing it to disk; a crash leaves either the old or the new one.

    A folder replaces a folder; a file never does.
    """
    for path in [part, *part.rglob('*')] if part.is_dir() else [part]:
        sync(path)
    if part.is_dir() and target.is_dir():  # a rename cannot replace a folder
        shutil.rmtree(target)
    part.replace(target)
    sync(target.absolute().parent)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
