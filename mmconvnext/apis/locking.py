"""One training at a time in a work dir."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.dist import broadcast_object_list, is_main_process

from ..errors import UserError
from ..files import open_regular

# The system frees the lock with the process that holds it, so a killed run blocks nobody.
LOCK, OWNER = '.lock', '.owner.json'
MAX_OWNER_BYTES = 4096


@contextmanager
def only_run_in(work_dir: str | Path) -> Iterator[None]:
    """Hold a work dir against other trainings, and remove what a killed one has left unfinished in it.

    Every process has to enter it at once; the first one holds the lock. Other programs may read the
    folder or test in it.

    Raises:
        UserError: another training is at work there.
    """
    folder, lock, refused = Path(work_dir), None, [None]
    made = []
    if is_main_process():
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            lock = take(folder)
            remove_unfinished(folder)
        except (OSError, UserError) as error:
            refused = [
                f'{folder} cannot be used as work dir: {error}' if isinstance(error, OSError) else str(error)
            ]
    try:
        broadcast_object_list(refused)
        if refused[0] is not None:
            raise UserError(refused[0])
        yield
    finally:
        if lock is not None:
            (folder / OWNER).unlink(missing_ok=True)
            (folder / LOCK).unlink(missing_ok=True)
            lock.release()
        with suppress(OSError):  # not empty: something was written
            for path in made:
                path.rmdir()


def take(folder: Path) -> FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f'{folder} is the work dir of a training that is running ({owner_of(folder)}); wait for its end, '
            'stop it, or choose another folder with --work-dir'
        ) from None
    owner = dict(pid=os.getpid(), host=socket.gethostname(), since=time.strftime('%Y-%m-%d %H:%M:%S'))
    (folder / OWNER).unlink(missing_ok=True)  # a link would lead elsewhere
    (folder / OWNER).write_text(json.dumps(owner))
    return lock


def owner_of(folder: Path) -> str:
    """Return who holds the lock, in words; the file is for people only."""
    try:
        with open_regular(folder / OWNER) as file:
            owner = json.loads(file.read(MAX_OWNER_BYTES))
        return f'process {int(owner["pid"])} on {owner["host"]!r}, since {owner["since"]!r}'.replace("'", '')
    except (OSError, ValueError, LookupError, TypeError):
        return 'it has not said which process'


def remove_unfinished(folder: Path) -> None:
    """Remove what a run of this folder leaves when it is killed in the middle of writing."""
    left = [folder / '.unfinished', *folder.glob('.last_checkpoint.' + '[a-z0-9_]' * 8)]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
