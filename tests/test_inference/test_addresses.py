"""Images from URLs stay within the limits of downloads, whatever the server does."""

import io
from contextlib import closing
from itertools import chain

import pytest
from PIL import Image

from mmconvnext.checkpoints import connections, receiving
from mmconvnext.errors import UserError
from mmconvnext.inference import inputs
from mmconvnext.inference.inputs import read_bytes
from tests.servers import Scripted, answer, chunked, dribble


def png():
    file = io.BytesIO()
    Image.effect_noise((40, 60), 80).save(file, 'PNG')
    return file.getvalue()


PNG = png()


@pytest.fixture(autouse=True)
def _few_and_short_connections(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '*')
    monkeypatch.setattr(receiving, 'PAUSES', (0, 0.01))
    monkeypatch.setattr(connections, 'STALL_SECONDS', 0.5)
    monkeypatch.setattr(connections, 'MIN_RATE', 10_000)


@pytest.fixture
def server():
    server = Scripted()
    with closing(server.listener):
        yield server


def endless(part):
    while True:
        yield part


@pytest.mark.parametrize(
    'script',
    [
        answer(PNG),
        chunked(b'%x\r\n' % len(PNG), PNG, b'\r\n0\r\n\r\n'),
        b'HTTP/1.1 100 Continue\r\n\r\n' + answer(PNG),
    ],
)
def test_an_image_is_read(server, script):
    server.scripts = [script]
    assert read_bytes(server.url) == PNG


def test_a_connection_that_breaks_is_tried_again(server):
    server.scripts = [answer(PNG)[:-9], answer(PNG)]
    assert read_bytes(server.url) == PNG


@pytest.mark.parametrize(
    ('script', 'message'),
    [
        (lambda: answer(PNG)[:-9], f'ended after {len(PNG) - 9:,} of {len(PNG):,} bytes'),
        (lambda: answer(PNG, Content_Length='x'), 'has no Content-Length'),
        (lambda: answer(PNG, Content_Length=None), 'has no Content-Length'),
        (lambda: answer(PNG, Content_Encoding='gzip'), 'Content-Encoding gzip'),
        (lambda: answer(PNG, Content_Length=10**12), 'more than 500,000 bytes'),
        (lambda: chain([chunked()], endless(b'8\r\n12345678\r\n')), 'more than 500,000 bytes'),
        (
            lambda: chain([answer(Content_Length=10**5)], dribble(PNG, b'x')),
            'fewer than 10,000 bytes a second',
        ),
        (lambda: dribble(b'HTTP/1.1 200 OK\r\n', b'a'), 'fewer than 10,000 bytes a second'),
        (lambda: endless(b'HTTP/1.1 100 Continue\r\n\r\n'), 'fewer than 10,000 bytes a second'),
        (lambda: answer(status='302 Found', Location='file:///etc/passwd'), 'is not allowed'),
        (lambda: answer(status='302 Found', Location='ftp://127.0.0.1/'), 'is not followed'),
        (lambda: answer(status='302 Found', Location='/'), 'infinite loop'),
        (lambda: answer(status='404 Not Found'), '404 Not Found'),
        (lambda: b'', 'the answer is broken'),
    ],
)
def test_what_cannot_be_an_image_ends_in_a_message(server, script, message, monkeypatch):
    monkeypatch.setattr(inputs, 'MAX_DOWNLOAD', 500_000)
    server.scripts = [script(), script()]
    with pytest.raises(UserError, match=message):
        read_bytes(server.url)


@pytest.mark.parametrize('address', ['http://[', 'http://', 'http://127.0.0.1:1/a', 'http://127.0.0.1:x/a'])
def test_odd_addresses_end_in_a_message(address):
    with pytest.raises(UserError):
        read_bytes(address)
