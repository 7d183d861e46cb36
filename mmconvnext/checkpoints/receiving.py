"""One file over HTTP, in several connections if need be, within limits on time and size."""

import os
import re
import shutil
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from threading import Event, Thread
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from tqdm import tqdm

from ..errors import UserError
from ..text import shortened
from ..version import __version__
from .contents import HEAD, check_head
from .descriptions import MAX_JSON_BYTES

CHUNK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte
# A socket's timeout begins anew with every byte.
STALL_SECONDS = 30
MIN_RATE = 1000  # bytes a second, over STALL_SECONDS
PAUSES = (0, 0.1, 0.2, 0.5, 1)  # seconds before each connection
MAX_WAIT = 120  # seconds that a server may ask for before the next connection
BUSY = (408, 416, 425, 429)  # as all from 500 on: the next connection may be answered
MAX_BYTES = 64_000_000_000  # of a file
MIN_FREE = 200_000_000  # bytes that a download leaves on the disk
MAX_REASON = 200  # characters of what a server says


class MissingFileError(UserError):
    """The server answered that it has no such file; who asked for an optional one goes on without."""


class Interrupted(Exception):
    """A connection ended early; the next may bring the rest.

    Args:
        reason: why.
        wait: seconds that the server asks for before.
    """

    def __init__(self, reason: object, wait: float = 0):
        super().__init__(shortened(str(reason), MAX_REASON))
        self.wait = wait


class Unreachable(Interrupted):
    """There was no connection at all."""


def receive(address: str, part: Path) -> None:
    """Complete ``part`` in a few connections; torch.hub's own downloader always starts over.

    Raises:
        MissingFileError: the server has no such file.
        UserError: the server sends something else than a file that may be kept.
        Interrupted: the last of the connections ended early.
    """
    wait = 0
    for pause in PAUSES:
        if wait:
            print(f'{host_of(address)} asks to wait {wait:.0f} s before the next try', file=sys.stderr)
        time.sleep(max(pause, wait))
        try:
            return _receive_rest(address, part)
        except Interrupted as error:
            last, wait = error, error.wait
            if isinstance(error, Unreachable) and pause == 0:
                break  # retries are for a line that was lost, not for one that never was
            if wait > MAX_WAIT:
                raise UserError(
                    f'{shown(address)}: {error}, and asks to wait {wait:,.0f} s; run again then'
                ) from error
    raise last


def check_reachable(address: str, timeout: float) -> None:
    """Raise Unreachable where there is no server; whatever one answers is good.

    Args:
        address: URL.
        timeout: seconds.
    """
    with Watch() as watch:
        try:
            _open(_request(address, method='HEAD'), watch, timeout).close()
        except Unreachable:
            raise
        except (HTTPError, Interrupted, UserError):
            pass


def shown(url: str) -> str:
    """Return a URL as messages quote it: without names, passwords and keys."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return 'a malformed address'
    query = '?...' if parts.query else ''
    return shortened(f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}{query}', 500)


def host_of(address: str) -> str:
    return urlsplit(address).netloc.rpartition('@')[2]


def _receive_rest(address: str, part: Path) -> None:
    """Add to ``part`` what one connection brings; return when it is whole."""
    version_file = part.with_name(f'{part.name}.version')
    version = version_file.read_text(encoding='utf-8') if version_file.exists() and part.exists() else ''
    size = part.stat().st_size if version else 0
    # As a file is, not as it could be sent: its length and its parts are those of the file then.
    headers = {'Accept-Encoding': 'identity'}
    if size:  # the rest, but only of the version that was begun; of another one, all
        headers |= {'Range': f'bytes={size}-', 'If-Range': version}
    with Watch() as watch, closing(_answer(address, headers, part, watch)) as response:
        start, total, found = 0, response.length, _version(response.headers)
        if response.status == 206:
            content_range = re.match(
                r'bytes (\d{1,15})-\d+/(\d{1,15})$', response.headers['Content-Range'] or ''
            )
            start, total = map(int, content_range.groups()) if content_range else (None, None)
            if start != size or found not in ('', version):  # not every server knows If-Range
                part.unlink(missing_ok=True)
                raise Interrupted('the server sent another part than it was asked for')
        elif total is None and 'Transfer-Encoding' not in response.headers:
            raise UserError(f'{shown(address)} has no Content-Length, so a truncated file would look whole')
        _check_room(address, part, total or 0, start)
        if start == 0:
            version_file.unlink(missing_ok=True)  # never beside bytes of another version
            part.write_bytes(b'')
            version_file.write_text(found, encoding='utf-8')
        bar = tqdm(desc=part.stem, initial=start, total=total, unit='B', unit_scale=True, disable=None)
        received, head = start, b''
        with bar, part.open('ab') as file:  # disable=None: unless stderr is a terminal
            for chunk in _chunks(response, watch):
                if start == 0 and len(head) < HEAD:
                    head += chunk[:HEAD]
                    if len(head) >= HEAD:
                        _check_head(address, part, head)
                received += len(chunk)
                if total is None:
                    _check_room(address, part, received, received)
                file.write(chunk)
                bar.update(len(chunk))
    with part.open('rb') as file:
        os.fsync(file.fileno())
    if total not in (None, received):
        raise Interrupted(f'the connection ended after {received:,} of {total:,} bytes')
    version_file.unlink(missing_ok=True)


def _check_head(address: str, part: Path, head: bytes) -> None:
    try:
        check_head(part.stem, head)
    except UserError as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f'{shown(address)} sends {error}; check the URL, and whether it asks for a login'
        ) from None


def _check_room(address: str, part: Path, total: int, received: int) -> None:
    if total > MAX_BYTES:
        raise UserError(f'{shown(address)} has more than {MAX_BYTES / 1e9:g} GB; that is no checkpoint')
    if part.stem.endswith('.json') and total > MAX_JSON_BYTES:
        part.unlink(missing_ok=True)
        raise UserError(f'{shown(address)} has more than {MAX_JSON_BYTES:,} bytes; no description is as long')
    folder = part.parent
    free = shutil.disk_usage(folder).free
    if total - received > free - MIN_FREE:
        raise UserError(
            f'{shown(address)} has {total / 1e6:,.0f} MB, but {folder} has room for '
            f'{max(0, free - MIN_FREE) / 1e6:,.0f}; '
            'make room there, or set MMCONVNEXT_HOME to another folder'
        )


def _answer(address: str, headers: dict[str, str], part: Path, watch: 'Watch') -> HTTPResponse:
    """Return an answer with the file, or with a part of it."""
    try:
        response = _open(_request(address, headers), watch, TIMEOUT)
    except HTTPError as error:
        error.close()
        status = f'the server answers {error.code} {shortened(str(error.reason), MAX_REASON)}'
        if error.code == 416:  # `part` is longer than the file: start over
            part.unlink(missing_ok=True)
        if error.code in BUSY or error.code >= 500:
            raise Interrupted(status, retry_after(error.headers)) from error
        kind = MissingFileError if error.code in (404, 410) else UserError
        raise kind(f'cannot download {shown(address)}: {status}; check the URL') from error
    encoding = response.headers.get('Content-Encoding', 'identity')
    if response.status not in (200, 206) or encoding.lower() not in ('', 'identity'):
        response.close()
        sent = (
            f'{response.status} {response.reason}'
            if encoding == 'identity'
            else f'Content-Encoding {encoding}'
        )
        raise UserError(
            f'{shown(address)} answers with {shortened(sent, MAX_REASON)}; expected 200 and the file as it is'
        )
    return response


def retry_after(headers: HTTPMessage) -> float:
    """Return the seconds that a server asks to wait, as a number or as a date; 0 where it does not ask."""
    asked = headers.get('Retry-After', '').strip()
    with suppress(ValueError, TypeError, OverflowError):
        if re.fullmatch(r'[0-9]{1,9}', asked):
            return int(asked)
        date = parsedate_to_datetime(asked)
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    return 0


def _request(address: str, headers: dict[str, str] | None = None, method: str = 'GET') -> Request:
    """Raise UserError for what is no address of a file."""
    try:
        parts = urlsplit(address)
        host = f'[{parts.hostname}]' if ':' in (parts.hostname or '') else parts.hostname or ''
        host = host.encode('idna').decode()
        host += '' if parts.port is None else f':{parts.port}'
    except ValueError as error:  # of a port, brackets or letters that cannot be
        raise UserError(f'{shown(address)} is no address of a file; check the URL') from error
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise UserError(f'{shown(address)} is no address of a file; expected https://HOST/FILE')
    path, query = (quote(text, safe="/%:@!$&'()*+,;=~?[]") for text in (parts.path, parts.query))
    request = Request(
        SplitResult(parts.scheme, host, path, query, '').geturl(),
        headers={'User-Agent': f'mmconvnext/{__version__}'} | (headers or {}),
        method=method,
    )
    if parts.username is not None:
        login = f'{unquote(parts.username)}:{unquote(parts.password or "")}'
        # Not for the host that a redirection leads to.
        request.add_unredirected_header('Authorization', f'Basic {b64encode(login.encode()).decode()}')
    return request


def _open(request: Request, watch: 'Watch', timeout: float) -> HTTPResponse:
    try:
        opener = build_opener(Redirects(), WatchedHTTP(watch), WatchedHTTPS(watch))
        response = opener.open(request, timeout=timeout)
        if watch.stalled:  # it takes the end of the connection for that of the headers
            response.close()
            raise Interrupted(watch.reason)
        return response
    except (HTTPError, UserError):
        raise
    except URLError as error:
        raise (Interrupted(watch.reason) if watch.stalled else Unreachable(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise Interrupted(watch.reason if watch.stalled else f'the answer is broken: {error!r}') from error


class Redirects(HTTPRedirectHandler):
    """Follows to other addresses of HTTP; from https, to https only."""

    http_error_308 = HTTPRedirectHandler.http_error_302

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        parts = urlsplit(newurl)
        schemes = ('https',) if req.type == 'https' else ('http', 'https')
        if parts.scheme not in schemes or not parts.hostname or '@' in parts.netloc:
            raise UserError(
                f'{shown(req.full_url)} leads to {shown(newurl)}, which is not followed; '
                f'expected an address of {" or ".join(schemes)} without a login'
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Watched:
    """For a handler of urllib: its connections are watched."""

    def __init__(self, watch: 'Watch'):
        super().__init__()
        self.watch = watch

    def do_open(self, http_class, req, **arguments):
        def watched(*args, **kwargs):
            connection = http_class(*args, **kwargs)
            connect = connection.connect

            def connect_and_watch():
                connect()
                self.watch.sockets.append(connection.sock)

            connection.connect = connect_and_watch
            return connection

        return super().do_open(watched, req, **arguments)


class WatchedHTTP(Watched, HTTPHandler):
    pass


class WatchedHTTPS(Watched, HTTPSHandler):
    pass


class Watch:
    """Ends connections that bring next to nothing: each byte would begin a socket's timeout anew.

    Attributes:
        received: bytes of the file, counted by who reads them.
        sockets: of all connections.
        stalled: whether they were ended.
    """

    def __init__(self):
        self.received, self.sockets, self.stalled, self._ended = 0, [], False, Event()

    @property
    def reason(self) -> str:
        return f'fewer than {MIN_RATE:,} bytes a second came for {STALL_SECONDS:g} s'

    def __enter__(self) -> 'Watch':
        Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()

    def _run(self) -> None:
        before = 0
        while not self._ended.wait(STALL_SECONDS):
            if self.received - before < MIN_RATE * STALL_SECONDS:
                self.stalled = True
                for connected in self.sockets:
                    with suppress(OSError):  # closed already
                        connected.shutdown(socket.SHUT_RDWR)
            before = self.received


def _chunks(response: HTTPResponse, watch: Watch) -> Iterator[bytes]:
    """The body; its errors are told from those of writing, which another connection would not mend."""
    try:
        while chunk := response.read1(CHUNK):
            watch.received += len(chunk)
            yield chunk
        if watch.stalled:  # it takes the end of the connection for that of the body
            raise Interrupted(watch.reason)
    except (OSError, HTTPException, ValueError) as error:
        raise Interrupted(watch.reason if watch.stalled else f'the connection broke: {error!r}') from error


def _version(headers: HTTPMessage) -> str:
    """What If-Range accepts: an ETag unless weak, else the time of the last change (RFC 9110, 13.1.5)."""
    etag = headers.get('ETag', '')
    return etag if etag.startswith('"') else headers.get('Last-Modified', '')
