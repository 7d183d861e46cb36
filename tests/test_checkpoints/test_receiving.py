"""Servers that do not send a file, or send too much, too slowly, or invalid HTTP."""

import io
import json
import struct
import zipfile
from base64 import b64decode
from contextlib import closing
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import chain

import pytest

from mmconvnext.checkpoints import connections, receiving
from mmconvnext.checkpoints.downloading import fetch
from mmconvnext.errors import UserError
from tests.servers import Scripted, answer, chunked, dribble, silence

BODY = b'\x80\x02' + bytes(range(256)) * 40
HTML = b'<!DOCTYPE html><html><body>Please log in</body></html>'


@pytest.fixture
def server():
    server = Scripted()
    with closing(server.listener):
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ('MMCONVNEXT_MIRROR', 'HF_ENDPOINT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('NO_PROXY', '*')
    monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(receiving, 'PAUSES', (0, 0.01, 0.01))
    return tmp_path / 'home'


def refuse(home, url, *words):
    """Check that a download fails with a message and leaves nothing that a later call would use."""
    with pytest.raises(UserError) as error:
        fetch(url)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert all(c.isprintable() or c == '\n' for c in str(error.value))
    left = [file.name for file in home.rglob('*') if file.is_file()]
    assert all(name.endswith(('.lock', '.part', '.version')) for name in left)
    return str(error.value)


def zipped(cut=0):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('a/data.pkl', b'\x80\x02}.')
    return file.getvalue()[: len(file.getvalue()) - cut]


def safetensors(size=8, header=None):
    header = header or json.dumps({'w': dict(dtype='F32', shape=[2], data_offsets=[0, 8])}).encode()
    return struct.pack('<Q', len(header)) + header + bytes(size)


CONTENTS = {
    'nothing': (b'', 'nothing in place of a checkpoint'),
    'login': (HTML, 'a page of HTML'),
    'portal': (b'  \r\n <html>' + b' ' * 100, 'a page of HTML'),
    'xml': (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'a page of HTML or XML'),
    'json': (b'{"error": "not found"}', 'in place of a checkpoint'),
    'text': (b'Too many requests', "begin with b'Too many request'"),
    'a pointer of git-lfs': (b'version https://git-lfs.github.com/spec/v1\n', 'in place of a checkpoint'),
    'gzip': (b'\x1f\x8b\x08\x00' + bytes(60), 'compressed with gzip'),
    'one byte': (b'P', 'in place of a checkpoint'),
    'half a zip': (zipped(cut=30), 'a part of a file'),
    'half of safetensors': (safetensors(4), 'a part of a file'),
    'more than safetensors': (safetensors(12), 'a part of a file, or a broken one'),
    'safetensors with a broken header': (safetensors(8, b'{"w": [1, 2'), 'a part of a file, or a broken one'),
    'safetensors with an odd header': (safetensors(8, b'{"w": {"data_offsets": 3}}'), 'a broken one'),
    'deep safetensors': (safetensors(8, b'{"a":' * 50_000), 'a broken one'),
    'zeros': (bytes(1000), 'in place of a checkpoint'),
    'terminal codes': (b'\x1b[31mred\x9b', 'in place of a checkpoint'),
}


@pytest.mark.parametrize('name', CONTENTS)
def test_what_is_no_checkpoint_is_not_kept(server, home, name):
    body, message = CONTENTS[name]
    server.scripts = [answer(body)]
    refuse(home, server.url, message, server.url)
    assert not list(home.rglob('*.part'))
    server.scripts = [answer(BODY)]
    assert fetch(server.url).read_bytes() == BODY


@pytest.mark.parametrize('body', [zipped(), safetensors(), safetensors(0, b'{}'), b'\x89HDF\r\n\x1a\n', BODY])
def test_checkpoints_are_kept(server, body):
    server.scripts = [answer(body)]
    assert fetch(server.url).read_bytes() == body


@pytest.mark.parametrize('body', [b'{', b'x', b'', b'{"a": 1} x', HTML, b'[' * 100_000])
def test_descriptions_are_json(server, home, body):
    server.scripts = [answer(body)]
    refuse(home, server.url.replace('net.pth', 'config.json'), 'net.pth'.replace('net.pth', 'config.json'))
    server.scripts = [answer(b'{"a": [1]}')]
    assert fetch(server.url.replace('net.pth', 'config.json')).read_bytes() == b'{"a": [1]}'


@pytest.mark.parametrize(
    ('script', 'message'),
    [
        (answer(status='204 No Content', Content_Length=None), '204 No Content'),
        (answer(BODY, '201 Created'), '201 Created'),
        (answer(BODY, '202 \x1b[2J'), r'202 \x1b[2J'),
        (answer(BODY, '299 ' + 'x' * 5000), '299 xxx'),
        (answer(BODY, Content_Encoding='gzip'), 'Content-Encoding gzip'),
        (answer(BODY, Content_Encoding='br'), 'expected 200 and the file as it is'),
        (answer(BODY, '401 Unauthorized'), '401 Unauthorized'),
        (answer(BODY, '407 Proxy'), '407 Proxy'),
        (answer(BODY, '304 Not Modified'), '304 Not Modified'),
        (answer(BODY, '300 Multiple Choices'), '300 Multiple'),
        (answer(BODY, '206 Partial', Content_Range='bytes 5-6/7'), 'another part than it was asked for'),
        (answer(BODY, '206 Partial', Content_Range='bytes */' + '9' * 5000), 'another part'),
        (answer(BODY, Content_Length=None), 'has no Content-Length'),
        (answer(BODY, Content_Length='-5'), 'has no Content-Length'),
        (answer(BODY, Content_Length='many'), 'has no Content-Length'),
        (answer(BODY, Content_Length=10**30), 'more than 64 GB'),
        (answer(BODY, Content_Length=60 * 10**9), 'make room there'),
        (answer(BODY, Content_Length=len(BODY) + 5), 'the connection ended after'),
        (chunked(b'zz\r\n', BODY), 'the connection broke'),
        (chunked(b'8\r\n', BODY[:4]), 'the connection broke'),
        (chunked(b'8\r\n', BODY[:8], b'\r\n'), 'the connection broke'),
        (chunked(b'9' * 70_000), 'the connection broke'),
        (chunked(b'0\r\n\r\n'), 'nothing in place of a checkpoint'),
        (b'', 'the answer is broken'),
        (b'nonsense\r\n\r\n', 'the answer is broken'),
        (b'HTTP/1.1 abc OK\r\n\r\n', 'the answer is broken'),
        (b'HTTP/1.1 99999 OK\r\n\r\n', 'the answer is broken'),
        (b'HTTP/9.9 200 OK\r\n\r\n', 'the answer is broken'),
        (b'HTTP/1.1 200 ' + b'x' * 70_000 + b'\r\n\r\n', 'the answer is broken'),
        (b'HTTP/1.1 200 OK\r\n' + b'a: b\r\n' * 200 + b'\r\n', 'the answer is broken'),
        (b'HTTP/1.1 200 OK\r\nContent-Le', 'has no Content-Length'),
        (b'\x16\x03\x01\x02\x00\x01\x00', 'the answer is broken'),
        (b'SSH-2.0-OpenSSH_9.6\r\n', 'the answer is broken'),
    ],
)
def test_odd_answers_end_in_a_message(server, home, script, message, monkeypatch):
    monkeypatch.setattr(receiving.shutil, 'disk_usage', lambda _: shutil_usage(10**10))
    server.scripts = [script]
    refuse(home, server.url, message)


def shutil_usage(free):
    return type('Usage', (), dict(free=free))


@pytest.mark.parametrize(
    ('location', 'message'),
    [
        ('{self}', 'infinite loop'),
        ('file:///etc/passwd', 'is not allowed'),
        ('ftp://127.0.0.1/net.pth', 'is not followed'),
        ('data:text/plain,x', 'is not allowed'),
        ('javascript:alert(1)', 'is not allowed'),
        ('http://127.0.0.1:99999/x', 'cannot download'),
        ('http://127.0.0.1:port/x', 'the answer is broken'),
        ('http://[bad/x', 'the answer is broken'),
        ('http:///x', 'infinite loop'),
        ('http://user:secret@127.0.0.1/x', 'without a login'),
        ('http://127.0.0.1:1/\x1b[2J', 'Connection refused'),
        ('http://' + 'a' * 300 + '/x', 'cannot download'),
        ('', 'infinite loop'),
    ],
)
def test_odd_redirections_end_in_a_message(server, home, location, message):
    server.scripts = [answer(status='302 Found', Location=location.format(self=server.url))]
    assert 'secret' not in refuse(home, server.url, message)


def test_redirections_are_followed_relative_and_to_others_but_never_without_their_login(server):
    there = Scripted()
    with closing(there.listener):
        moved = [
            answer(status=f'{status} Moved', Location=f'/{status} y/é')
            for status in (301, 302, 303, 307, 308)
        ]
        server.scripts = [*moved, answer(status='302 Found', Location=there.url)]
        there.scripts = [answer(BODY)]
        login = server.url.replace('http://', 'http://me:pass%20word@')
        assert fetch(login).read_bytes() == BODY
    assert [b64decode(asked.partition('Basic ')[2].split()[0]) for asked in server.asked[:1]] == [
        b'me:pass word'
    ]
    assert 'Authorization' not in there.asked[0]


def test_from_https_nothing_else_is_followed():
    from urllib.request import Request

    redirects = connections.Redirects()
    with pytest.raises(
        UserError, match='leads to http://b.example/x.*, which is not followed; .* https with'
    ):
        redirects.redirect_request(
            Request('https://a.example/'), None, 302, '', {}, 'http://b.example/x?key=1'
        )
    assert redirects.redirect_request(Request('https://a.example/'), None, 302, '', {}, 'https://b.example/x')


@pytest.mark.parametrize(
    'url',
    [
        'http://[bad/net.pth',
        'http://127.0.0.1:99999/net.pth',
        'http://127.0.0.1:-1/net.pth',
        'http://127.0.0.1:x/net.pth',
        'http:///net.pth',
        'http://' + 'ü' * 300 + '.example/net.pth',
        'http://a..b/net.pth',
        'http://exa mple/net.pth',
        'http://user:secret@[bad/net.pth',
        'http://127.0.0.1:1/\x1b[2J.pth?token=secret',
        'http://user:secret@127.0.0.1:1/net.pth',
        'HTTP://127.0.0.1:1/net.pth#' + 'x' * 5000,
        'http://127.0.0.1:1/' + 'x' * 5000,
        'http://127.0.0.1:1/..',
        'http://127.0.0.1:1',
        'http://ﬀ.invalid/net.pth',
    ],
)
def test_odd_addresses_end_in_a_message_without_their_secrets(home, url):
    assert 'secret' not in refuse(home, url)


def test_names_of_files_may_have_any_letters(server):
    server.scripts = [answer(BODY)]
    url = server.url.replace('net.pth', 'größe %2F..%2F é\'"<>|;.pth?a=ü b')
    file = fetch(url)
    assert file.read_bytes() == BODY and file.parent.name == 'checkpoints'
    assert server.asked[0].split()[1].startswith('/gr%C3%B6%C3%9Fe%20%2F..%2F%20%C3%A9')


@pytest.mark.parametrize('status', ['429 Too Many Requests', '503 Busy'])
@pytest.mark.parametrize(
    'asked', [lambda: '1', lambda: format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2))]
)
def test_a_busy_server_is_given_the_time_it_asks_for(server, status, asked, capfd):
    server.scripts = [answer(status=status, Retry_After=asked()), answer(BODY)]
    assert fetch(server.url).read_bytes() == BODY
    assert server.times[1] - server.times[0] >= 0.9
    assert f'127.0.0.1:{server.port} asks to wait ' in capfd.readouterr().err


@pytest.mark.parametrize('asked', ['500', 'Fri, 31 Dec 2100 23:59:59 GMT'])
def test_a_long_wait_is_left_to_the_user(server, home, asked):
    server.scripts = [answer(status='503 Busy', Retry_After=asked)]
    refuse(home, server.url, '503 Busy, and asks to wait', 'run again then')
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    'asked', ['-5', 'soon', '', '9' * 5000, 'Fri, 31 Dec 1999 23:59:59 GMT', '1e3', '\x00']
)
def test_a_wait_that_is_none_is_none(server, asked):
    server.scripts = [answer(status='429 Busy', Retry_After=asked), answer(BODY)]
    assert fetch(server.url).read_bytes() == BODY


@pytest.mark.parametrize(
    'script',
    [
        lambda: dribble(b'HTTP/1.1 200 OK\r\n', b'a'),
        lambda: dribble(b'HTTP/1.1 200 OK\r\nx: ', b'x'),
        lambda: dribble(b'', b'HTTP/1.1 100 Continue\r\n\r\n'),
        lambda: chain([answer(Content_Length=10**6), BODY[:100]], dribble(BODY)),
        lambda: chain([chunked(b'8\r\n', BODY[:8], b'\r\n')], dribble(b'0' * 200)),
        lambda: chain([chunked(b'0\r\n')], dribble(b'a: b\r\n' * 50)),
    ],
)
def test_a_server_that_dribbles_is_left(server, home, script, monkeypatch):
    monkeypatch.setattr(connections, 'STALL_SECONDS', 0.3)
    monkeypatch.setattr(connections, 'MIN_RATE', 100_000)
    server.scripts = [script()]
    refuse(home, server.url, 'fewer than 100,000 bytes a second came')
    assert len(server.asked) == 1


def test_a_handshake_that_dribbles_is_left(home, monkeypatch):
    monkeypatch.setattr(connections, 'STALL_SECONDS', 0.3)
    server = Scripted(reads=False)
    server.scripts = [dribble(b'\x16\x03\x03\x3f\x00', b'\0')]
    with closing(server.listener):
        refuse(home, server.url.replace('http:', 'https:'), 'fewer than 1,000 bytes a second came')


def test_a_line_that_is_lost_without_a_word_is_taken_up_again(server, monkeypatch):
    monkeypatch.setattr(connections, 'STALL_SECONDS', 0.3)
    monkeypatch.setattr(connections, 'MIN_RATE', 1000)
    half = answer(BODY, ETag='"1"')[: -len(BODY) // 2]
    rest = BODY[-len(BODY) // 2 :]
    there = f'bytes {len(BODY) - len(rest)}-{len(BODY) - 1}/{len(BODY)}'
    server.scripts = [
        chain([half], silence()),
        answer(rest, '206 Partial Content', Content_Range=there, ETag='"1"'),
    ]
    assert fetch(server.url).read_bytes() == BODY


def test_a_body_without_a_length_ends_where_the_disk_has_no_room(server, home, monkeypatch):
    free = iter([10**9, 10**9, 10**8] + [0] * 100)
    monkeypatch.setattr(receiving.shutil, 'disk_usage', lambda _: shutil_usage(next(free)))
    part = b'%x\r\n' % len(BODY) + BODY + b'\r\n'
    server.scripts = [chunked(*[part] * 300)]
    refuse(home, server.url, 'has room for 0', 'MMCONVNEXT_HOME')
    monkeypatch.undo()


@pytest.mark.parametrize('known', [True, False])
def test_a_description_has_a_largest_size(server, home, monkeypatch, known):
    monkeypatch.setattr(receiving, 'MAX_JSON_BYTES', 10**4)
    body = b'{"a": "' + b'x' * 50_000 + b'"}'
    server.scripts = [answer(body) if known else chunked(b'%x\r\n' % len(body) + body + b'\r\n')]
    refuse(home, f'{server.url.rpartition("/")[0]}/config.json', 'more than 10,000 bytes', 'no description')
    assert not [file for file in home.rglob('*') if file.suffix == '.part']


def test_a_header_of_many_values_is_not_parsed(server, home):
    header = b'{"a": [' + b'[[[]]],' * 300_000 + b'0]}'
    server.scripts = [answer(safetensors(header=header))]
    refuse(home, server.url, 'a part of a file, or a broken one')


def test_a_body_without_a_length_has_a_largest_size(server, home, monkeypatch):
    monkeypatch.setattr(receiving, 'MAX_BYTES', 10**6)
    part = b'%x\r\n' % len(BODY) + BODY + b'\r\n'
    server.scripts = [chunked(*[part] * 300)]
    refuse(home, server.url, 'that is not a checkpoint')
