"""Lock a work dir for one training at a time."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..engine.processes import decided_by_first
from ..errors import UserError
from ..files import open_regular

# The system releases the lock when its process ends, so a killed run blocks nobody.
LOCK, OWNER = '.lock', '.owner.json'
MAX_OWNER_BYTES = 4096


@contextmanager
def only_run_in(*folders: str | Path) -> Iterator[None]:
    """Lock folders against other trainings, and remove unfinished files of killed ones.

    Every process must enter this; the first one holds the locks. Other programs can still read the folders
    and run tests in them.

    Args:
        *folders: work dir, and the folder of checkpoints if it is another one.

    Raises:
        UserError: another training is running there, or a folder cannot be written.
    """
    with ExitStack() as held:
        decided_by_first(lambda: [held.enter_context(hold(folder)) for folder in distinct(folders)])
        yield


def distinct(folders: Iterable[str | Path]) -> list[Path]:
    return list({Path(folder).resolve(): Path(folder) for folder in folders}.values())


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock a folder; it is created, and removed again if nothing was written to it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        lock = take(folder)
        try:
            yield
        finally:
            release(folder, lock)
    finally:
        with suppress(OSError):  # not empty: something was written
            for path in made:
                path.rmdir()


def take(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK)
    choose = 'choose another folder with --work-dir'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        try:
            owner = dict(pid=os.getpid(), host=socket.gethostname(), since=time.strftime('%Y-%m-%d %H:%M:%S'))
            (folder / OWNER).unlink(missing_ok=True)  # a link would lead elsewhere
            (folder / OWNER).write_text(json.dumps(owner))
            remove_unfinished(folder)
        except BaseException:
            release(folder, lock)
            raise
    except Timeout:
        raise UserError(
            f'{folder} is the work dir of a training that is running ({owner_of(folder)}); wait for its end, '
            f'stop it, or {choose}'
        ) from None
    except OSError as error:
        cure = f'make it a folder that you can write to, or {choose}'
        if str(error.filename) in (str(folder / LOCK), str(folder / OWNER)):
            cure = (
                'another user trains there, or a training of theirs was killed '
                f'({owner_of(folder)}); once none is running, delete that file, or {choose}'
            )
        raise UserError(f'{folder} cannot be used as work dir: {error}; {cure}') from error
    return lock


def release(folder: Path, lock: FileLock) -> None:
    """Unlock a folder; the lock file is deleted first, because another process may lock it afterwards."""
    for name in (OWNER, LOCK):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)
    lock.release()


def owner_of(folder: Path) -> str:
    """Return a description of the process that holds the lock, for messages only."""
    try:
        with open_regular(folder / OWNER) as file:
            owner = json.loads(file.read(MAX_OWNER_BYTES))
        return f'process {int(owner["pid"])} on {owner["host"]!r}, since {owner["since"]!r}'.replace("'", '')
    except (OSError, ValueError, LookupError, TypeError):
        return 'it has not said which process'


def remove_unfinished(folder: Path) -> None:
    """Remove the files that a run leaves when it is killed while writing."""
    left = [folder / '.unfinished', *folder.glob('.last_checkpoint.' + '[a-z0-9_]' * 8)]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
