"""Filter requests to gradio: only those of the page itself pass, and uploads get our names."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..checkpoints.descriptions import finite, refuse
from ..errors import UserError
from ..text import shortened
from .uploads import MAX_FILES, Uploads
from .vetting import Vetting

API = '/gradio_api'
FILE = f'{API}/file='
# The only paths of gradio that the page uses.
READ = ('/assets/', '/static/', '/theme.css', '/config', '/favicon.ico', '/manifest.json')
READ_API = ('/queue/data', '/heartbeat/', '/startup-events', '/theme.css')
WRITE_API = ('/queue/join', '/cancel', '/reset')
# Uploads are held in a temporary folder until they are complete, so that slow ones do not block others. All
# together may take the space of this many uploads of the largest size.
MAX_HELD = 2
UPLOAD_SECONDS = 600
STALL_SECONDS = 30  # seconds without a byte
MAX_UPLOAD = 16  # size of all its images, in units of the largest that is allowed
MAX_FIELDS = 8  # in memory, beside its files
MAX_FORM_BYTES = 1_000_000  # bytes of a request that holds no file
MAX_LINE = 300  # characters of a line in the log
logger = logging.getLogger('uvicorn.error')


class Border:
    """ASGI middleware in front of gradio.

    gradio stores uploads under the names given by users, fetches URLs in requests, and answers many requests
    that this page never sends. Here, uploads are stored under random names, requests may only refer to such
    files, and all other paths are not found.

    Args:
        app: application of gradio.
        uploads: storage of uploads.
        vetting: checks checkpoints first.
        inputs: number of values per function of the page, by gradio's number of the function.
        private: whether to answer only pages of this machine, so that other sites in the same browser cannot
            use this page.
        origin: ``https://NAME`` under which a proxy on this machine serves the page; its pages are answered,
            too.
    """

    def __init__(
        self,
        app: ASGIApp,
        uploads: Uploads,
        vetting: Vetting,
        inputs: Mapping[int, int],
        *,
        private: bool,
        origin: str | None = None,
    ):
        self.app, self.uploads, self.private, self.origin = app, uploads, private, origin
        self.vetting, self.inputs, self.held = vetting, inputs, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':  # start and end of gradio; the page has no websockets
            if scope['type'] == 'lifespan':
                await self.app(scope, receive, send)
            return
        with suppress(ClientDisconnect):  # the client has disconnected
            await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if (refused := self.refused(request)) is not None:
            answer = refused
        elif request.method == 'POST' and scope['path'] == f'{API}/upload':
            answer = await self.upload(request)
        elif request.method == 'POST' and scope['path'] in [API + path for path in WRITE_API]:
            answer, receive = await self.checked(request)
        elif scope['path'] == f'{API}/upload_progress':
            answer = Response(status_code=204)
        else:
            answer = None if self.may_read(request) else PlainTextResponse('Not found', 404)
        await (answer or self.passed_on)(scope, receive, send)

    async def passed_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let gradio answer; if it fails at a request that the page does not send, log a single line."""
        started = failed = False

        async def send_unless_failed(message: Message) -> None:
            nonlocal started, failed
            if message['type'] == 'http.response.start':
                started, failed = True, message['status'] >= 500
            if not failed:
                await send(message)

        try:
            await self.app(scope, receive, send_unless_failed)
        except ClientDisconnect:
            raise
        except Exception as error:  # gradio does not handle unexpected errors
            logger.warning(shortened(f'{scope["method"]} {scope["path"]!r} failed: {error!r}', MAX_LINE))
        if failed or not started:
            await PlainTextResponse('This request cannot be answered', 400)(scope, receive, send)

    def refused(self, request: Request) -> Response | None:
        """Return an error response unless host and origin of a request are ours."""
        host, origin = request.headers.get('host', ''), request.headers.get('origin')
        try:
            name = urlsplit(f'//{host}').hostname
        except ValueError:
            return PlainTextResponse('This request names no host', 400)
        if not self.private and self.origin is None:
            return None if name else PlainTextResponse('This request names no host', 400)
        if is_loopback(name):  # also the host that a proxy may set
            good = origin in (None, f'http://{host}', self.origin)
        else:
            good = self.origin is not None and name == urlsplit(self.origin).hostname
            good = good and origin in (None, self.origin)
        only = self.origin or 'this machine'
        return None if good else PlainTextResponse(f'This page answers {only} only', 403)

    def may_read(self, request: Request) -> bool:
        path = request.scope['path']
        if request.method not in ('GET', 'HEAD'):
            return False
        if path.startswith(FILE):
            # gradio would also fetch URLs and files in other folders.
            try:
                file = Path(path.removeprefix(FILE)).resolve()
            except (OSError, ValueError):  # not a valid file name
                return False
            return file.is_relative_to(self.uploads.folder.resolve())
        return path == '/' or path.startswith((*READ, *(API + path for path in READ_API)))

    async def upload(self, request: Request) -> Response:
        """Store the files of a form, and respond with their paths like gradio."""
        stream = unstalled(request.stream())
        parser = FormParser(request.headers, stream, self)
        try:
            return await self.stored(await asyncio.wait_for(parser.parse(), UPLOAD_SECONDS))
        except UserError as error:
            answer = PlainTextResponse(str(error), 413)
        except (MultiPartException, KeyError) as error:
            answer = PlainTextResponse(str(getattr(error, 'message', error)), 400)
        except asyncio.TimeoutError:
            return PlainTextResponse(
                f'This upload took more than {UPLOAD_SECONDS / 60:g} minutes, or stood still', 408
            )
        finally:
            self.held -= parser.total
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(drain(stream), UPLOAD_SECONDS)
        return answer

    async def stored(self, form: FormData) -> Response:
        try:
            files = [file for file in form.getlist('files') if not isinstance(file, str)]
            stored = [
                await asyncio.to_thread(self.uploads.store, file.file, file.filename or '') for file in files
            ]
        finally:
            await form.close()
        return JSONResponse([str(upload.path) for upload in stored])

    async def checked(self, request: Request) -> tuple[Response | None, Receive]:
        """Return an error response unless a request is valid for the page, and its body."""
        body = b''
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                return PlainTextResponse('This request is too long', 413), request.receive
        try:
            content = json.loads(body, parse_constant=refuse, parse_float=finite)
            paths = paths_in(content)
        except (ValueError, RecursionError):
            return PlainTextResponse('This request is no JSON, or nested too deeply', 400), request.receive
        if any(path not in self.uploads for path in paths):
            return PlainTextResponse(
                'This upload is not kept any more; upload it again', 400
            ), request.receive
        if request.scope['path'] == f'{API}/queue/join' and not self.is_call(content):
            return PlainTextResponse(
                'This request calls no function of the page, or with another number of values', 400
            ), request.receive
        parts = iter([dict(type='http.request', body=body, more_body=False)])

        async def again() -> dict:
            return next(parts, None) or await request.receive()

        return None, again

    def is_call(self, content: object) -> bool:
        """Return whether a request calls a function of the page with the right number of values."""
        if not isinstance(content, dict):
            return False
        function, values = content.get('fn_index'), content.get('data')
        return type(function) is int and isinstance(values, list) and self.inputs.get(function) == len(values)


def is_loopback(name: str | None) -> bool:
    """Return whether a host name always refers to this machine."""
    try:
        return name == 'localhost' or ip_address(name or '').is_loopback
    except ValueError:
        return False


class FormParser(MultiPartParser):
    """Read the files of a form, and stop if they are too many or too large.

    Raises:
        UserError: a file, or all of them together, are too large.
    """

    def __init__(self, headers: Headers, stream: AsyncIterator[bytes], border: Border):
        super().__init__(headers, stream, max_files=MAX_FILES, max_fields=MAX_FIELDS)
        self.border, uploads = border, border.uploads
        self.most_bytes, self.total, self.size = uploads.most_bytes, 0, 0
        self.most_total = max(self.most_bytes, MAX_UPLOAD * uploads.most_megabytes * 1e6)

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self.size = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.size += end - start
        self.total += end - start
        self.border.held += end - start
        if self.size > self.most_bytes:
            raise UserError(f'a file has more than {self.most_bytes / 1e6:g} MB; choose a smaller one')
        if self.total > self.most_total:
            raise UserError(f'more than {self.most_total / 1e6:g} MB at once; choose fewer files')
        if self.border.held > MAX_HELD * self.most_total:
            raise UserError('too much is being uploaded at once; try again in a minute')
        super().on_part_data(data, start, end)


async def unstalled(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Raise asyncio.TimeoutError if no data arrives."""
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), STALL_SECONDS)
        except StopAsyncIteration:
            return


async def drain(stream: AsyncIterator[bytes]) -> None:
    """Read and discard the rest, because a browser ignores the response while it is sending."""
    async for _ in stream:
        pass


def paths_in(content: object) -> list[object]:
    """Return the paths of all files in a request to gradio."""
    if isinstance(content, list):
        return [path for value in content for path in paths_in(value)]
    if isinstance(content, dict):
        return [
            path for key, value in content.items() for path in ([value] if key == 'path' else paths_in(value))
        ]
    return []
