"""Files that are whole or absent, whatever happens while they are written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes the target if all goes well and vanishes if not.

    Folders on the way to the target are made.
    """
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=f'.{target.name}.') as folder:
        part = Path(folder, target.name)
        yield part
        put_in_place(part, target)


def check_place(target: Path) -> None:
    """Raise UserError if something is at the target already, or a file on the way there."""
    if target.exists():
        raise UserError(f'{target} exists already; delete it or choose another name')
    there = next(path for path in target.absolute().parents if path.exists())
    if not there.is_dir():
        raise UserError(f'{target} cannot be written: {there} is a file and no folder; choose another name')


def put_in_place(part: Path, target: Path) -> None:
    """Rename a file, or a folder, once all of it is on the disk; a crash leaves the old or the new one."""
    for path in [part, *part.rglob('*')] if part.is_dir() else [part]:
        sync(path)
    if target.is_dir():  # which a rename does not replace
        shutil.rmtree(target)
    part.replace(target)
    sync(target.absolute().parent)


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
