"""Receive a file over HTTP in one or more connections, with limits on time and size."""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError

from tqdm import tqdm

from ..errors import UserError
from ..text import shortened
from .connections import (
    MAX_REASON,
    TIMEOUT,
    Interrupted,
    Stalled,
    Unreachable,
    Watch,
    chunks,
    host_of,
    open_url,
    redacted,
    request_for,
)
from .contents import HEAD, check_head
from .descriptions import MAX_JSON_BYTES

PAUSES = (0, 0.1, 0.2, 0.5, 1)  # seconds before each connection
MAX_WAIT = 120  # seconds that a server may ask for before the next connection
BUSY = (408, 416, 425, 429)  # as all from 500 on: the next connection may be answered
MAX_BYTES = 64_000_000_000  # of a file
MIN_FREE = 200_000_000  # bytes that a download leaves on the disk
# As a file is, not as it could be sent: its length and its parts are those of the file then.
AS_IT_IS = {'Accept-Encoding': 'identity'}

Received = TypeVar('Received')


class MissingFileError(UserError):
    """The server has no such file; callers that ask for an optional file continue without it."""


def receive(address: str, part: Path) -> None:
    """Complete ``part`` in a few connections; the downloader of torch.hub always starts over.

    Raises:
        MissingFileError: the server has no such file.
        UserError: the server does not send a valid file.
        Interrupted: the last of the connections ended early.
    """
    _retry(address, partial(_receive_rest, address, part))


def receive_bytes(address: str, max_bytes: int) -> bytes:
    """Return the content of a small file without storing it.

    Raises:
        UserError: the server does not send the file, or it is too large.
    """
    try:
        return _retry(address, partial(_receive_all, address, max_bytes))
    except Interrupted as error:
        raise UserError(f'cannot download {redacted(address)}: {error}') from error


def _retry(address: str, connect: Callable[[], Received]) -> Received:
    """Return the result of a function, retried with a few connections."""
    wait = 0
    for pause in PAUSES:
        if wait:
            print(f'{host_of(address)} asks to wait {wait:.0f} s before the next try', file=sys.stderr)
        time.sleep(max(pause, wait))
        try:
            return connect()
        except Interrupted as error:
            last, wait = error, error.wait
            if isinstance(error, Stalled) or (isinstance(error, Unreachable) and pause == 0):
                break  # retries are for a line that was lost, not for one that never was
            if wait > MAX_WAIT:
                raise UserError(
                    f'{redacted(address)}: {error}, and asks to wait {wait:,.0f} s; run again then'
                ) from error
    raise last


def _receive_rest(address: str, part: Path) -> None:
    """Append the data of one connection to ``part``; return when it is complete."""
    version_file = part.with_name(f'{part.name}.version')
    version = version_file.read_text(encoding='utf-8') if version_file.exists() and part.exists() else ''
    size = part.stat().st_size if version else 0
    # The rest, but only of the version that was begun; of another one, all.
    headers = {'Range': f'bytes={size}-', 'If-Range': version} if size else {}
    with Watch() as watch, closing(_answer(address, watch, headers, part)) as response:
        start, total, found = 0, response.length, _version(response.headers)
        if response.status == 206:
            content_range = re.match(
                r'bytes (\d{1,15})-\d+/(\d{1,15})$', response.headers['Content-Range'] or ''
            )
            start, total = map(int, content_range.groups()) if content_range else (None, None)
            if start != size or found not in ('', version):  # not every server knows If-Range
                part.unlink(missing_ok=True)
                raise Interrupted('the server sent another part than it was asked for')
        _check_room(address, part, total or 0, start)
        if start == 0:
            version_file.unlink(missing_ok=True)  # never beside bytes of another version
            part.write_bytes(b'')
            version_file.write_text(found, encoding='utf-8')
        bar = tqdm(desc=part.stem, initial=start, total=total, unit='B', unit_scale=True, disable=None)
        received, head = start, b''
        with bar, part.open('ab') as file:  # disable=None: unless stderr is a terminal
            for chunk in chunks(response, watch):
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
    _check_whole(received, total)
    version_file.unlink(missing_ok=True)


def _receive_all(address: str, max_bytes: int) -> bytes:
    """Return the data of one connection."""
    content = bytearray()
    with Watch() as watch, closing(_answer(address, watch)) as response:
        total = response.length
        for chunk in chunks(response, watch):
            content += chunk
            if max(total or 0, len(content)) > max_bytes:
                raise UserError(f'{redacted(address)} has more than {max_bytes:,} bytes')
    _check_whole(len(content), total)
    return bytes(content)


def _check_whole(received: int, total: int | None) -> None:
    if total not in (None, received):
        raise Interrupted(f'the connection ended after {received:,} of {total:,} bytes')


def _check_head(address: str, part: Path, head: bytes) -> None:
    try:
        check_head(part.stem, head)
    except UserError as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f'{redacted(address)} sends {error}; check the URL, and whether it asks for a login'
        ) from None


def _check_room(address: str, part: Path, total: int, received: int) -> None:
    if total > MAX_BYTES:
        raise UserError(f'{redacted(address)} has more than {MAX_BYTES / 1e9:g} GB; that is not a checkpoint')
    if part.stem.endswith('.json') and total > MAX_JSON_BYTES:
        part.unlink(missing_ok=True)
        raise UserError(
            f'{redacted(address)} has more than {MAX_JSON_BYTES:,} bytes; no description is as long'
        )
    folder = part.parent
    free = shutil.disk_usage(folder).free
    if total - received > free - MIN_FREE:
        raise UserError(
            f'{redacted(address)} has {total / 1e6:,.0f} MB, but {folder} has room for '
            f'{max(0, free - MIN_FREE) / 1e6:,.0f}; '
            'make room there, or set MMCONVNEXT_HOME to another folder'
        )


def _answer(
    address: str, watch: Watch, headers: dict[str, str] | None = None, part: Path | None = None
) -> HTTPResponse:
    """Return a response with the file, or with the rest of ``part``."""
    try:
        response = open_url(request_for(address, AS_IT_IS | (headers or {})), watch, TIMEOUT)
    except HTTPError as error:
        error.close()
        status = f'the server answers {error.code} {shortened(str(error.reason), MAX_REASON)}'
        if error.code == 416 and part is not None:  # it is longer than the file: start over
            part.unlink(missing_ok=True)
        if error.code in BUSY or error.code >= 500:
            raise Interrupted(status, retry_after(error.headers)) from error
        kind = MissingFileError if error.code in (404, 410) else UserError
        raise kind(f'cannot download {redacted(address)}: {status}; check the URL') from error
    encoding = response.headers.get('Content-Encoding', 'identity')
    if response.status not in (200, 206) or encoding.lower() not in ('', 'identity'):
        response.close()
        sent = (
            f'{response.status} {response.reason}'
            if encoding == 'identity'
            else f'Content-Encoding {encoding}'
        )
        raise UserError(
            f'{redacted(address)} answers with {shortened(sent, MAX_REASON)}; '
            'expected 200 and the file as it is'
        )
    if response.status == 200 and response.length is None and 'Transfer-Encoding' not in response.headers:
        response.close()
        raise UserError(f'{redacted(address)} has no Content-Length, so a truncated file would look whole')
    return response


def retry_after(headers: HTTPMessage) -> float:
    """Return the seconds that a server asks to wait, given as a number or a date, or 0."""
    asked = headers.get('Retry-After', '').strip()
    with suppress(ValueError, TypeError, OverflowError):
        if re.fullmatch(r'[0-9]{1,9}', asked):
            return int(asked)
        date = parsedate_to_datetime(asked)
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    return 0


def _version(headers: HTTPMessage) -> str:
    """Return the value for If-Range: a strong ETag, or else the modification time (RFC 9110, 13.1.5)."""
    etag = headers.get('ETag', '')
    return etag if etag.startswith('"') else headers.get('Last-Modified', '')
