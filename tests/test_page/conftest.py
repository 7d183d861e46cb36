"""Fixtures that open the page."""

import shutil
import threading
import time

import pytest

from tests.pages import save_checkpoint


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp('checkpoint') / 'small.pth')


class Open:
    """A running page.

    Attributes:
        url: its address.
        app: the ASGI app in front of gradio, which knows the uploads.
    """

    def __init__(self, app, listener):
        self.app = app
        self.url = 'http://{}:{}'.format(*listener.getsockname()[:2])

    @property
    def files(self):
        """Return the paths of all files in the folder of the page."""
        folder = self.app.uploads.folder
        return [str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()]


@pytest.fixture(scope='session')
def opened(checkpoint):
    """Open a local page with uploads of at most 1 MB."""
    yield from open_page(checkpoint, private=True)


@pytest.fixture(scope='session')
def opened_to_others(checkpoint):
    yield from open_page(checkpoint, private=False)


@pytest.fixture(scope='session')
def opened_by_proxy(checkpoint):
    yield from open_page(checkpoint, private=False, origin='https://page.example')


def open_page(checkpoint, private, origin=None):
    pytest.importorskip('gradio')
    from mmconvnext.page.app import application, listening, server
    from mmconvnext.page.models import Models, Source

    given = [Source(checkpoint.name, str(checkpoint))]
    with (
        listening('127.0.0.1', 0) as listener,
        application(Models('cpu'), given, 1, private, origin) as app,
    ):
        serving = server(app)
        thread = threading.Thread(target=serving.run, kwargs=dict(sockets=[listener]))
        thread.start()
        while not serving.started:
            time.sleep(0.02)
        yield Open(app, listener)
        serving.should_exit = True
        thread.join()


@pytest.fixture(scope='session')
def browser():
    playwright = pytest.importorskip('playwright.sync_api')
    chromium = shutil.which('chromium')
    if chromium is None:
        pytest.skip('there is no chromium; apt-get install chromium')
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        yield running
        running.close()
