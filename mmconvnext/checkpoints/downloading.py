"""Download files once and atomically into a cache folder, and verify them on every use."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from filelock import FileLock, Timeout
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

from ..errors import UserError
from ..files import written_whole
from ..text import one_line, shortened
from .connections import CHUNK, Interrupted, Unreachable, check_reachable, redacted
from .contents import check_contents
from .receiving import MissingFileError, receive

HUB = 'https://huggingface.co'
# File names of weights in repositories of the hub.
HUB_WEIGHTS = ['model.safetensors', 'pytorch_model.bin']
HUB_WEIGHTS += [f'open_clip_{name}' for name in HUB_WEIGHTS]
HUB_SECONDS = 10  # for the first answer of the hub
REPORT_SECONDS = 30  # how often a process says that it waits
MAX_FILE_NAME = 150  # of a file in the cache
WITHOUT = (
    'In a training, --cfg-options load_from=FILE starts from a file that you have, and load_from=None from '
    'random weights'
)


def cache_dir() -> Path:
    """Return the folder of downloads: MMCONVNEXT_HOME, or a folder in the user's cache."""
    home = os.environ.get('MMCONVNEXT_HOME')
    return Path(home or Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'mmconvnext')).expanduser()


def fetch(source: str | Path) -> Path:
    """Return the local file for a path, which is not checked, or for an http(s) URL, cached in ``cache_dir``.

    The SHA-256 of a downloaded file is recorded on first use and compared on every later one.

    Raises:
        MissingFileError: the server has no such file.
        UserError: the file cannot be downloaded or written, is not a checkpoint, or differs from the hash in
            its name or from an earlier download.
    """
    url = str(source)
    if not url.lower().startswith(('http://', 'https://')):
        return Path(source).expanduser()
    place = _place(url)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place
        if not place.exists():
            # huggingface_hub reads the variable only once, when it is imported.
            endpoint = (os.environ.get('HF_ENDPOINT') or HUB).rstrip('/')
            host = f'(?:{re.escape(HUB)}|{re.escape(endpoint)})'
            if match := re.fullmatch(rf'{host}/([^/]+/[^/]+)/resolve/([^/]+)/([^?#]+).*', url):
                file = _from_hub(url, place, endpoint, *map(unquote, match.groups()))
            else:
                _from_web(url, place)
        Record(url, place).check(file)
    except OSError as error:
        raise UserError(
            f'cannot write {place}: {error}. Make room there, or set MMCONVNEXT_HOME to another folder.'
        ) from error
    return file


def _place(url: str) -> Path:
    """Return the path in the cache for the file of a URL, where users may also put it themselves."""
    try:
        name = PurePosixPath(urlsplit(url).path).name
    except ValueError as error:
        raise UserError(f'{redacted(url)} is not the URL of a file; check the URL') from error
    name = re.sub(r'[^\w.+=@-]', '_', name)[-MAX_FILE_NAME:]
    if promised_hash(name) is None:  # two URLs may end in the same name
        name = f'{sha256(url.encode(errors="surrogatepass")).hexdigest()[:8]}-{name}'
    return cache_dir() / 'checkpoints' / name


def promised_hash(name: str) -> str | None:
    """Return the start of a SHA-256 in a file name, or None."""
    match = re.search(r'-([0-9a-f]{8,})\.', name)
    return match and match[1]


def _from_hub(url: str, place: Path, endpoint: str, repo_id: str, revision: str, filename: str) -> Path:
    where = dict(repo_id=repo_id, revision=revision, cache_dir=cache_dir() / 'hub')
    names = [filename]
    if filename in HUB_WEIGHTS:
        names += [name for name in HUB_WEIGHTS if name != filename]
    try:
        unknown = []
        for name in names:
            # A path; None; or the hub's answer that there is no such file, which the cache keeps, too.
            known = try_to_load_from_cache(filename=name, **where)
            if isinstance(known, str) and not unknown:
                return Path(known)
            if known is None or isinstance(known, str):
                unknown.append(name)
        _check_hub_reachable(endpoint)
        with _alone(place):
            for name in unknown or names:
                try:
                    file = Path(hf_hub_download(filename=name, endpoint=endpoint, **where))
                    break
                except EntryNotFoundError as error:
                    if isinstance(error, LocalEntryNotFoundError):
                        raise  # the hub was not reached
            else:
                raise MissingFileError(
                    f'{redacted(url)}: {repo_id} at {revision} has no {" or ".join(names)}; check the URL'
                )
    except MissingFileError:
        raise
    except Exception as error:  # of requests, httpx or httpx2: each major version has its own
        # That a file is not in the cache, either, says little about why it was looked for there.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        reason = shortened(one_line(cause or error), 1000)
        raise UserError(
            f'cannot get {redacted(url)} from {redacted(endpoint)} into {where["cache_dir"]}: {reason}\n'
            f'Check the URL and the network, or put the file at {place} yourself; HF_TOKEN opens private and '
            'gated repositories, HF_ENDPOINT names a mirror, and MMCONVNEXT_HOME another cache folder. '
            f'{WITHOUT}.'
        ) from error
    try:
        check_contents(file.name, file)
    except UserError as error:
        file.resolve().unlink()
        file.unlink(missing_ok=True)
        raise UserError(f'{redacted(url)} is {error}; nothing of it was kept') from None
    return file


def _check_hub_reachable(endpoint: str) -> None:
    """Raise Unreachable immediately, where huggingface_hub would retry for half a minute."""
    # It says so itself when it is told to be offline, and may know proxies that urllib does not.
    if os.environ.get('HF_HUB_OFFLINE') or 'socks' in ' '.join(getproxies().values()):
        return
    try:
        check_reachable(endpoint, HUB_SECONDS)
    except Unreachable as error:
        raise Unreachable(f'there is no connection to {redacted(endpoint)}: {error}') from error


def _from_web(url: str, place: Path) -> None:
    with _alone(place):
        if place.exists():  # who had the lock before has downloaded it
            return
        part = place.with_name(f'{place.name}.part')
        path, mirror = url.split('://', 1)[1], os.environ.get('MMCONVNEXT_MIRROR')
        path = path[path.partition('/')[0].rfind('@') + 1 :]  # a login is not for a mirror
        address = f'{mirror.rstrip("/")}/{path}' if mirror else url
        try:
            receive(address, part)
        except Interrupted as error:
            path = redacted(url).partition('://')[2]
            raise UserError(
                f'cannot download {redacted(url)}{f" from {redacted(address)}" if mirror else ""}: {error}. '
                'Check the network and run again, which continues where this ended; or put the file at '
                f'{place} yourself; or let MMCONVNEXT_MIRROR name a server that has {path}, or '
                f'MMCONVNEXT_HOME a cache folder that has it. {WITHOUT}.'
            ) from error
        try:
            check_contents(place.name, part)
            found, promised = _sha256(part), promised_hash(place.name)
            if promised and not found.startswith(promised):
                raise UserError(
                    f'another file: its SHA-256 is {found}, its name promises {promised}. Run again; if that '
                    f'part of the name is no hash, put the file at {place} yourself'
                )
            Record(url, place).compare(found)
        except UserError as error:
            part.unlink()
            raise UserError(f'what came from {redacted(url)} was deleted: it is {error}') from None
        part.replace(place)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Lock a file, and report waiting for another process."""
    lock, started = FileLock(f'{place}.lock'), time.monotonic()
    while True:
        try:
            lock.acquire(timeout=REPORT_SECONDS if time.monotonic() - started > 1 else 1)
            break
        except Timeout:
            print(
                f'Waiting for another process that downloads {place.name}, '
                f'{time.monotonic() - started:.0f} s so far; its lock is {lock.lock_file}',
                file=sys.stderr,
            )
    try:
        yield
    finally:
        lock.release()


class Record:
    """The record of a downloaded file on its first use.

    Args:
        url: URL of the file.
        place: path beside which the record is written.
    """

    def __init__(self, url: str, place: Path):
        self.url, self.path = redacted(url), place.with_name(f'{place.name}.sha256')

    def check(self, file: Path) -> None:
        """Raise UserError if a cached file has changed; it is read only if its size or time has changed."""
        known, stat = self.read(), file.stat()
        state = dict(bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)
        if known is not None and state.items() <= known.items():
            return
        digest = _sha256(file)
        try:
            self.compare(digest)
        except UserError as error:
            raise UserError(
                f'{file} is {error}; or delete it, and the original is downloaded again'
            ) from None
        first = known['first'] if known else f'{date.today()}'
        with suppress(OSError, UserError), written_whole(self.path) as part:  # others may own the cache
            content = dict(url=self.url, sha256=digest, first=first, **state)
            part.write_text(json.dumps(content, indent=1), encoding='utf-8')

    def compare(self, digest: str) -> None:
        """Raise UserError if a different file was used before."""
        known = self.read()
        if known is not None and known['sha256'] != digest:
            raise UserError(
                f'another file than before: on {known["first"]}, {self.url} had the SHA-256 '
                f'{known["sha256"]}, now it is {digest}. If you trust the new one, delete {self.path}'
            )

    def read(self) -> dict | None:
        """Return the record, or None if there is no readable one."""
        with suppress(OSError, ValueError):
            known = json.loads(self.path.read_text(encoding='utf-8'))
            if isinstance(known, dict) and all(
                isinstance(known.get(key), str) for key in ('sha256', 'first')
            ):
                return known
        return None


def _sha256(file: Path) -> str:
    digest = sha256()
    with file.open('rb') as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
