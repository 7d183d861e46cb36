"""Files by URL: downloaded once a machine, whole or not at all, and kept in a cache folder."""

import os
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError
from tqdm import tqdm

from ..errors import UserError
from ..version import __version__

HUB = 'https://huggingface.co'
# What repositories of the hub call their weights.
HUB_WEIGHTS = ['model.safetensors', 'pytorch_model.bin']
HUB_WEIGHTS += [f'open_clip_{name}' for name in HUB_WEIGHTS]
CHUNK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte
PAUSES = (0, 0.1, 0.2, 0.5, 1)  # seconds before each connection


class MissingFileError(UserError):
    """The server answered that it has no such file; who asked for an optional one goes on without."""


class _Interrupted(Exception):
    """A connection ended early; the next may bring the rest."""


class _Unreachable(_Interrupted):
    """There was no connection at all."""


def cache_dir() -> Path:
    """The folder of all downloads: MMCONVNEXT_HOME, else a folder in the user's cache."""
    home = os.environ.get('MMCONVNEXT_HOME')
    return Path(home or Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'mmconvnext')).expanduser()


def fetch(source: str | Path) -> Path:
    """The local file of a path, which is not checked, or of an http(s) URL, which is kept in `cache_dir`.

    Raises:
        MissingFileError: the server has no such file.
        UserError: the file cannot be downloaded or written, or is not what the hash in its name promises.
    """
    url = str(source)
    if not url.startswith(('http://', 'https://')):
        return Path(source).expanduser()
    # huggingface_hub reads the variable only once, when it is imported.
    endpoint = (os.environ.get('HF_ENDPOINT') or HUB).rstrip('/')
    host = f'(?:{re.escape(HUB)}|{re.escape(endpoint)})'
    if match := re.fullmatch(rf'{host}/([^/]+/[^/]+)/resolve/([^/]+)/([^?#]+).*', url):
        return _from_hub(url, endpoint, *map(unquote, match.groups()))
    return _from_web(url)


def _from_hub(url: str, endpoint: str, repo_id: str, revision: str, filename: str) -> Path:
    where = dict(repo_id=repo_id, revision=revision, cache_dir=cache_dir() / 'hub')

    def known_missing(name: str) -> bool:
        # Neither a path nor None: the cache also keeps the hub's answer that there is no such file.
        return not isinstance(try_to_load_from_cache(filename=name, **where), str | None)

    names = [filename]
    if filename in HUB_WEIGHTS:
        names += [name for name in HUB_WEIGHTS if name != filename]
    try:
        # Not asking in vain matters without a network, when each question takes half a minute.
        for name in [name for name in names if not known_missing(name)] or names:
            try:
                return Path(hf_hub_download(filename=name, endpoint=endpoint, **where))
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError) and not known_missing(name):
                    raise  # the hub was not reached
    except Exception as error:  # of requests, httpx or httpx2: each major version has its own
        # That a file is not in the cache, either, says little about why it was looked for there.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        reason = ' '.join(str(cause or error).split())
        raise UserError(
            f'cannot get {url} from {endpoint} into {where["cache_dir"]}: {reason}\nCheck the URL and the '
            'network; HF_TOKEN opens private and gated repositories, HF_ENDPOINT names a mirror, and '
            'MMCONVNEXT_HOME another cache folder.'
        ) from error
    raise MissingFileError(f'{url}: {repo_id} at {revision} has no {" or ".join(names)}; check the URL')


def _from_web(url: str) -> Path:
    name = PurePosixPath(urlsplit(url).path).name
    promised = re.search(r'-([0-9a-f]{8,})\.', name)
    if promised is None:  # two URLs may end in the same name
        name = f'{sha256(url.encode()).hexdigest()[:8]}-{name}'
    file = cache_dir() / 'checkpoints' / name
    if file.exists():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{file}.lock'):
            if not file.exists():  # who had the lock before has downloaded it
                part = file.with_name(f'{name}.part')
                _download(url, part)
                if promised and not (found := _sha256(part)).startswith(promised[1]):
                    part.unlink()
                    raise UserError(
                        f'what came from {url} was deleted: its SHA-256 is {found}, its name promises '
                        f'{promised[1]}. Run again; if that part of the name is no hash, put the file at '
                        f'{file} yourself.'
                    )
                part.replace(file)
    except OSError as error:
        raise UserError(
            f'cannot write {file}: {error}. Make room there, or set MMCONVNEXT_HOME to another folder.'
        ) from error
    return file


def _download(url: str, part: Path) -> None:
    """Complete `part` in a few connections; torch.hub's own downloader always starts over."""
    path, mirror = url.split('://', 1)[1], os.environ.get('MMCONVNEXT_MIRROR')
    address = f'{mirror.rstrip("/")}/{path}' if mirror else url
    for pause in PAUSES:
        time.sleep(pause)
        try:
            return _receive(address, part)
        except _Interrupted as error:
            reason = error
            if isinstance(error, _Unreachable) and pause == 0:
                break  # retries are for a line that was lost, not for one that never was
    raise UserError(
        f'cannot download {url}{f" from {address}" if mirror else ""}: {reason}. Check the network and run '
        f'again, which goes on where this ended; or put the file at {part.with_suffix("")} yourself; or let '
        f'MMCONVNEXT_MIRROR name a server that has {path}, or MMCONVNEXT_HOME a cache folder that has it.'
    ) from reason


def _receive(address: str, part: Path) -> None:
    """Add to `part` what one connection brings; return when it is whole."""
    version_file = part.with_name(f'{part.name}.version')
    version = version_file.read_text() if version_file.exists() and part.exists() else ''
    size = part.stat().st_size if version else 0
    headers = {'User-Agent': f'mmconvnext/{__version__}'}
    if size:  # the rest, but only of the version that was begun; of another one, all
        headers |= {'Range': f'bytes={size}-', 'If-Range': version}
    with _open(address, headers, part) as response:
        start, total, found = 0, response.length, _version(response.headers)
        if response.status == 206:
            content_range = re.match(r'bytes (\d+)-\d+/(\d+)', response.headers.get('Content-Range', ''))
            start, total = map(int, content_range.groups()) if content_range else (None, None)
            if start != size or found not in ('', version):  # not every server knows If-Range
                part.unlink(missing_ok=True)
                raise _Interrupted('the server sent another part than it was asked for')
        elif total is None and 'Transfer-Encoding' not in response.headers:
            raise UserError(f'{address} has no Content-Length, so a truncated file would look whole')
        if start == 0:
            version_file.unlink(missing_ok=True)  # never beside bytes of another version
            part.write_bytes(b'')
            version_file.write_text(found)
        bar = tqdm(desc=part.stem, initial=start, total=total, unit='B', unit_scale=True, disable=None)
        with bar, part.open('ab') as file:  # disable=None: unless stderr is a terminal
            for chunk in _chunks(response):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    size = part.stat().st_size
    if total not in (None, size):
        raise _Interrupted(f'the connection ended after {size:,} of {total:,} bytes')
    version_file.unlink(missing_ok=True)


def _open(address: str, headers: dict[str, str], part: Path) -> HTTPResponse:
    try:
        return urlopen(Request(address, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        status = f'the server answers {error.code} {error.reason}'
        if error.code == 416:  # `part` is longer than the file: start over
            part.unlink(missing_ok=True)
        if error.code == 416 or error.code >= 500:
            raise _Interrupted(status) from error
        kind = MissingFileError if error.code in (404, 410) else UserError
        raise kind(f'cannot download {address}: {status}; check the URL') from error
    except URLError as error:
        raise _Unreachable(error.reason) from error
    except (OSError, HTTPException) as error:
        raise _Interrupted(error) from error


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The body; its errors are told from those of writing, which another connection would not mend."""
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _Interrupted(f'the connection broke: {error!r}') from error


def _version(headers: HTTPMessage) -> str:
    """What If-Range accepts: an ETag unless weak, else the time of the last change (RFC 9110, 13.1.5)."""
    etag = headers.get('ETag', '')
    return etag if etag.startswith('"') else headers.get('Last-Modified', '')


def _sha256(file: Path) -> str:
    digest = sha256()
    with file.open('rb') as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
