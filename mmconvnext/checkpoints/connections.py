"""HTTP connections with limits: allowed URLs, and when a connection is given up."""

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from threading import Event, Thread
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from ..errors import UserError
from ..text import shortened
from ..version import __version__

CHUNK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte
# The timeout of a socket restarts with every byte.
STALL_SECONDS = 30
MIN_RATE = 1000  # bytes a second, over STALL_SECONDS
MAX_REASON = 200  # characters of what a server says


class Interrupted(Exception):
    """A connection ended early; the next one may continue.

    Args:
        reason: reason for the end.
        wait: seconds that the server asks to wait.
    """

    def __init__(self, reason: object, wait: float = 0):
        super().__init__(shortened(str(reason), MAX_REASON))
        self.wait = wait


class Unreachable(Interrupted):
    """No connection could be made."""


class Stalled(Unreachable):
    """A connection was too slow for the maximum time."""


class Watch:
    """End connections that are too slow, because each byte restarts the timeout of a socket.

    Attributes:
        received: received bytes of the file, counted by the reader.
        stalled: whether the connections were ended.
    """

    def __init__(self):
        self.received, self.stalled, self._sockets, self._ended = 0, False, [], Event()

    def __enter__(self) -> 'Watch':
        Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        for connected in self._sockets:
            connected.close()

    def connect(self, *args, **kwargs) -> socket.socket:
        """Return a new watched connection, including the handshakes of proxies and TLS."""
        connected = socket.create_connection(*args, **kwargs)
        self._sockets.append(connected.dup())  # TLS closes the one that it is given
        return connected

    def error(self, reason: object, kind: type[Interrupted] = Interrupted) -> Interrupted:
        """Return the error of a connection, with this reason unless it was ended here."""
        if not self.stalled:
            return kind(reason)
        # A line that had worked may be lost without a word.
        kind = Interrupted if self.received >= MIN_RATE * STALL_SECONDS else Stalled
        return kind(f'fewer than {MIN_RATE:,} bytes a second came for {STALL_SECONDS:g} s')

    def _run(self) -> None:
        before = 0
        while not self._ended.wait(STALL_SECONDS):
            if self.received - before < MIN_RATE * STALL_SECONDS:
                self.stalled = True
                for connected in self._sockets:
                    with suppress(OSError):  # closed already
                        connected.shutdown(socket.SHUT_RDWR)
            before = self.received


def check_reachable(address: str, timeout: float) -> None:
    """Raise Unreachable if there is no server; any response is accepted.

    Args:
        address: URL.
        timeout: seconds.
    """
    with Watch() as watch:
        try:
            open_url(request_for(address, method='HEAD'), watch, timeout).close()
        except Unreachable:
            raise
        except (HTTPError, Interrupted, UserError):
            pass


def redacted(url: str) -> str:
    """Return a URL for messages, without user names, passwords and keys."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return 'a malformed address'
    query = '?...' if parts.query else ''
    return shortened(f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}{query}', 500)


def host_of(address: str) -> str:
    return urlsplit(address).netloc.rpartition('@')[2]


def open_url(request: Request, watch: Watch, timeout: float) -> HTTPResponse:
    """Return a response whose headers have arrived.

    Raises:
        HTTPError: the server responds with an error.
        UserError: the server redirects to a URL that is not allowed.
        Interrupted: there is no response, or it is not HTTP.
    """
    try:
        opener = build_opener(Redirects(), WatchedHTTP(watch), WatchedHTTPS(watch))
        response = opener.open(request, timeout=timeout)
        if watch.stalled:  # it takes the end of the connection for that of the headers
            response.close()
            raise watch.error('')
        return response
    except (HTTPError, UserError):
        raise
    except URLError as error:
        raise watch.error(error.reason, Unreachable) from error
    except (OSError, HTTPException, ValueError) as error:
        raise watch.error(f'the answer is broken: {error!r}') from error


def request_for(address: str, headers: dict[str, str] | None = None, method: str = 'GET') -> Request:
    """Build the request for a URL; raise UserError if the URL is invalid."""
    try:
        parts = urlsplit(address)
        host = f'[{parts.hostname}]' if ':' in (parts.hostname or '') else parts.hostname or ''
        host = host.encode('idna').decode()
        host += '' if parts.port is None else f':{parts.port}'
    except ValueError as error:  # of a port, brackets or letters that cannot be
        raise UserError(f'{redacted(address)} is not the URL of a file; check the URL') from error
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise UserError(f'{redacted(address)} is not the URL of a file; expected https://HOST/FILE')
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


def chunks(response: HTTPResponse, watch: Watch) -> Iterator[bytes]:
    """Yield the body of a response; errors of the connection become ``Interrupted``, which can be retried."""
    try:
        while chunk := response.read1(CHUNK):
            watch.received += len(chunk)
            yield chunk
        if watch.stalled:  # it takes the end of the connection for that of the body
            raise watch.error('')
    except (OSError, HTTPException, ValueError) as error:
        raise watch.error(f'the connection broke: {error!r}') from error


class Redirects(HTTPRedirectHandler):
    """Follow redirects over HTTP, and from https only to https."""

    http_error_308 = HTTPRedirectHandler.http_error_302

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        parts = urlsplit(newurl)
        schemes = ('https',) if req.type == 'https' else ('http', 'https')
        if parts.scheme not in schemes or not parts.hostname or '@' in parts.netloc:
            raise UserError(
                f'{redacted(req.full_url)} leads to {redacted(newurl)}, which is not followed; '
                f'expected an address of {" or ".join(schemes)} without a login'
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Watched:
    """Mixin for a handler of urllib with watched connections."""

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    def do_open(self, http_class, req, **arguments):
        def watched(*args, **kwargs):
            connection = http_class(*args, **kwargs)
            connection._create_connection = self.watch.connect
            return connection

        return super().do_open(watched, req, **arguments)


class WatchedHTTP(Watched, HTTPHandler):
    pass


class WatchedHTTPS(Watched, HTTPSHandler):
    pass
