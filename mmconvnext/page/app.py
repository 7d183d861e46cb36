"""Serve the demo page: a model, an image, its classes, Grad-CAM and latency."""

import math
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from stat import S_ISDIR
from tempfile import TemporaryDirectory
from types import FrameType
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from ..apis.infer import choose_model
from ..errors import UserError
from ..inference.classifier import check_device
from .environment import SILENT, environment

try:
    with environment(**SILENT):
        import gradio as gr
        import uvicorn
        from fastapi import FastAPI
except ModuleNotFoundError as error:
    raise UserError(f'{error.name} is missing; pip install "mmconvnext[app]"') from error

from .border import Border
from .events import Events
from .layout import CSS, THEME, build
from .models import Models, Source
from .uploads import Uploads

MODEL = 'convnext_atto.d2_in1k'  # small: downloaded in seconds
# Of the temporary folder, and of the lock in it that its page holds.
PREFIX, OWNED = 'mmconvnext-page-', 'owned'
MIN_AGE = 5  # seconds; a younger folder may belong to a page that has not locked it yet
MAX_ENDING_SECONDS = 1  # after a signal, for requests in progress
AT_ONCE = 4  # requests per function; per network, one computes while others are prepared
WAITING = 256  # further requests are refused


def serve(
    model: Sequence[str] = (),
    checkpoint: str | None = None,
    host: str = '127.0.0.1',
    port: int = 7860,
    max_megabytes: float = 20,
    device: str | None = None,
    origin: str | None = None,
) -> None:
    """Serve the page until interrupted.

    Args:
        model: published checkpoints, configs or weights to choose from, see ``find``; the first is the
            default.
        checkpoint: other weights for the first model; without a model, the network is inferred from them.
        host: address to listen on. If only this machine can reach it and ``origin`` is None, users may upload
            checkpoints and choose from the whole zoo; otherwise they can only choose the models given here.
        port: port, or 0 for any free one.
        max_megabytes: maximum size of an image.
        device: default a GPU if there is one.
        origin: ``https://NAME`` under which a proxy on this machine serves the page to others.

    Raises:
        UserError: an argument has a mistake, a library is missing, or the port is in use.
    """
    if not 0 < max_megabytes < math.inf:
        raise UserError(f'--max-megabytes is {max_megabytes:g}; it should be a number above 0')
    if origin is not None:
        check_origin(origin)
    check_device(device)
    models, given = Models(device), sources(model, checkpoint)
    with ExitStack() as stack:
        listener = stack.enter_context(listening(host, port))
        for source in given:
            models.get(source)  # mistakes are reported now
        given = given or [Source(MODEL, MODEL)]
        own = is_own(listener)
        if origin is not None and not own:
            raise UserError(
                f'others reach {host} without the proxy of --origin, and its login; leave --host at 127.0.0.1'
            )
        private = own and origin is None
        stack.enter_context(ended_by_sigterm())
        app = stack.enter_context(application(models, given, max_megabytes, private, origin))
        host, port = listener.getsockname()[:2]
        print(f'Open http://{f"[{host}]" if ":" in host else host}:{port}; end with Ctrl+C', flush=True)
        serving, others = server(app), set(threading.enumerate())
        try:
            with suppress(KeyboardInterrupt):
                serving.run(sockets=[listener])
        finally:
            for thread in set(threading.enumerate()) - others:
                if thread.name.startswith('AnyIO worker'):  # one that still computes is ended by the timer
                    thread.join()
            serving.timer.cancel()


def sources(models: Sequence[str], checkpoint: str | None) -> list[Source]:
    """Return the models on the command line, in order."""
    if checkpoint is None:
        return [source_of(name) for name in models]
    choose_model(models[0] if models else None, checkpoint)  # mistakes in the command are reported first
    network, weights = (models[0], checkpoint) if models else (checkpoint, True)
    return [Source(Path(checkpoint).name, network, weights), *map(source_of, models[1:])]


def source_of(name: str) -> Source:
    named, _ = choose_model(name, None)
    return Source(named.name if named.entry else Path(name).name, name)


@contextmanager
def application(
    models: Models, given: Sequence[Source], max_megabytes: float, private: bool, origin: str | None = None
) -> Iterator[Border]:
    """Return the page as an ASGI application, with a folder for uploads that is deleted with it."""
    remove_left_folders()
    with ExitStack() as stack:
        owned = stack.enter_context(TemporaryDirectory(prefix=PREFIX))
        stack.enter_context(FileLock(Path(owned, OWNED)))
        folder = Path(owned, 'files')
        folder.mkdir()
        # In the folder gradio writes pictures and tables.
        stack.enter_context(environment(**SILENT, GRADIO_TEMP_DIR=str(folder)))
        uploads = Uploads(folder, max_megabytes, checkpoints=private)
        events = Events(models, uploads, given, published=private)
        blocks = build(events)
        blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE, api_open=False)
        app = gr.mount_gradio_app(
            FastAPI(openapi_url=None),
            blocks,
            path='/',
            root_path=origin,
            theme=gr.themes.Default(**THEME),
            css=CSS,
            max_file_size=uploads.most_bytes,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            show_error=False,
        )
        with uploads.tidying(), closing(events.vetting):
            inputs = {number: len(function.inputs) for number, function in blocks.fns.items()}
            yield Border(app, uploads, events.vetting, inputs, private=private, origin=origin)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Take SIGTERM for an interruption inside, so that the folder of the page goes then, too."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def remove_left_folders() -> None:
    """Delete the folders of killed pages, whose locks are released."""
    for folder in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        with suppress(OSError, Timeout):
            stat = folder.lstat()
            ours = S_ISDIR(stat.st_mode) and stat.st_uid == os.getuid()
            if ours and time.time() - stat.st_ctime > MIN_AGE and (folder / OWNED).is_file():
                with FileLock(folder / OWNED, timeout=0):
                    shutil.rmtree(folder)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise UserError(
            f'the page cannot be shown at {host}, port {port}: {error}; choose others with --host and --port'
        ) from error
    with listener:
        yield listener


def is_own(listener: socket.socket) -> bool:
    """Return whether only this machine can reach a host."""
    return ip_address(listener.getsockname()[0]).is_loopback


def check_origin(origin: str) -> None:
    try:
        parts = urlsplit(origin)
        good = parts.scheme in ('http', 'https') and origin == f'{parts.scheme}://{parts.netloc}'
        good = good and parts.hostname and '@' not in origin and origin == origin.lower()
    except ValueError:
        good = False
    if not good:
        raise UserError(f'--origin is {origin}; expected one like https://page.example.org, without a path')


class Server(uvicorn.Server):
    """A server that stops within seconds after a signal, even during a computation or an upload."""

    def __init__(self, config: uvicorn.Config):
        super().__init__(config)
        self.timer = threading.Timer(MAX_ENDING_SECONDS, self.end_now)
        self.timer.daemon = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self.timer.is_alive():
            self.timer.start()

    def end_now(self) -> None:
        """End the process while threads compute, after deleting its folder and ending the reader."""
        border = self.config.app
        border.vetting.close()
        shutil.rmtree(border.uploads.folder.parent, ignore_errors=True)
        os._exit(0)


def server(app: Border) -> Server:
    # Open pages keep their connections. The timer of a signal comes first, since uvicorn logs a traceback for
    # every request that it cancels.
    return Server(uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=2 * MAX_ENDING_SECONDS))
