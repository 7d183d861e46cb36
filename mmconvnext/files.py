"""Files that are whole or absent, whatever happens while they are written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes the target if all goes well and vanishes if not."""
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=f'.{target.name}.') as folder:
        part = Path(folder, target.name)
        yield part
        put_in_place(part, target)


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
