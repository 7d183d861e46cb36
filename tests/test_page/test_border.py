"""Requests that the page itself would not send to gradio are refused."""

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from io import BytesIO
from socket import create_connection
from tempfile import SpooledTemporaryFile
from threading import Event

import pytest

from tests.pages import noise

httpx = pytest.importorskip('httpx')
CLIENT = httpx.Client(timeout=60)
NAMES = ['../../../evil.png', '/etc/evil', 'x' * 3000, '<img src=x onerror=alert(1)>.png', 'evil\r\n.png', '']
OURS = re.compile(r'[0-9a-f]{32}\.(png|bin|pth)|[0-9a-f]{64}/image\.png|[0-9a-f]{32}/results\.csv')


def upload(page, *files):
    return CLIENT.post(f'{page.url}/gradio_api/upload', files=[('files', file) for file in files])


def test_uploads_lie_under_names_of_ours_and_are_served(opened):
    answer = upload(opened, *((name, noise(i)) for i, name in enumerate(NAMES)))
    paths = answer.json()
    assert len(paths) >= 5  # without a file name, a part is a plain field
    for i, path in enumerate(paths):
        assert CLIENT.get(f'{opened.url}/gradio_api/file={path}').content == noise(i)
    assert all(OURS.fullmatch(name) for name in opened.files)
    assert not any('evil' in name or 'xxx' in name for name in opened.files)


def test_too_large_files_are_refused_and_the_answer_says_so(opened):
    before = opened.files
    answer = upload(opened, ('big.png', b'\0' * 1_200_000))
    assert (answer.status_code, answer.text) == (413, 'big.png has 1.2 MB; at most 1 MB are taken')
    assert upload(opened, *[(f'{i}.png', b'') for i in range(300)]).status_code == 400
    assert CLIENT.post(f'{opened.url}/gradio_api/upload', content=b'x').status_code == 400
    assert opened.files == before


def parts(count, size, stalled=None):
    """Return a form with the given number of files."""
    for _ in range(count):
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        yield from [b'\0' * 100_000] * (size // 100_000)
        yield b'\r\n'
    if stalled is not None:
        stalled.wait()
    yield b'--x--\r\n'


def send(page, content):
    headers = {'Content-Type': 'multipart/form-data; boundary=x'}
    return CLIENT.post(f'{page.url}/gradio_api/upload', content=content, headers=headers)


def test_a_flood_is_cut_off_while_it_comes(opened_to_others, monkeypatch):
    written = []

    class Watched(SpooledTemporaryFile):
        def write(self, data):
            written.append(len(data))
            return super().write(data)

    monkeypatch.setattr('starlette.formparsers.SpooledTemporaryFile', Watched)
    answer = send(opened_to_others, parts(1, 5_000_000))
    assert (answer.status_code, answer.text) == (413, 'a file has more than 1 MB; choose a smaller one')
    assert 0 < sum(written) <= 1e6
    written.clear()
    answer = send(opened_to_others, parts(20, 1_000_000))
    assert (answer.status_code, answer.text) == (413, 'more than 16 MB at once; choose fewer files')
    assert 15e6 < sum(written) <= 16e6
    assert not opened_to_others.files


@pytest.mark.parametrize('path', ['/gradio_api/upload', '/gradio_api/queue/join'])
def test_a_browser_that_goes_away_is_let_go(path, opened):
    scope = dict(
        type='http',
        method='POST',
        path=path,
        query_string=b'',
        headers=[(b'host', b'127.0.0.1'), (b'content-type', b'multipart/form-data; boundary=x')],
    )
    begin = b''.join(parts(1, 100_000))[:50_000]
    messages = iter([dict(type='http.request', body=begin, more_body=True), dict(type='http.disconnect')])

    async def receive():
        return next(messages)

    async def send(message):
        raise AssertionError(message)

    asyncio.run(opened.app(scope, receive, send))


def test_slow_uploads_take_no_turn_from_others_and_end_at_last(opened, monkeypatch):
    monkeypatch.setattr('mmconvnext.page.border.STALL_SECONDS', 2)
    stalled = Event()
    with ThreadPoolExecutor(12) as pool:
        slow = [pool.submit(send, opened, parts(1, 100_000, stalled)) for _ in range(12)]
        while opened.app.held < 12 * 100_000:
            time.sleep(0.01)
        assert upload(opened, ('a.png', noise(0))).status_code == 200
        while opened.app.held:  # all clients were notified
            time.sleep(0.01)
        stalled.set()
        for answer in slow:
            with suppress(httpx.TransportError):  # the connection was closed while the client was sending
                assert answer.result().status_code == 408


def test_all_uploads_together_have_a_largest_size(opened_to_others, monkeypatch):
    monkeypatch.setattr('mmconvnext.page.border.MAX_HELD', 0.01)  # of 16 MB
    answer = send(opened_to_others, parts(3, 100_000))
    assert (answer.status_code, answer.text) == (
        413,
        'too much is being uploaded at once; try again in a minute',
    )
    assert opened_to_others.app.held == 0
    assert not opened_to_others.files


def test_checkpoints_are_taken_on_this_machine_only(opened, opened_to_others, checkpoint):
    file = ('model.pth', checkpoint.read_bytes())
    assert upload(opened, file).status_code == 200
    answer = upload(opened_to_others, file)
    assert (answer.status_code, answer.text) == (
        413,
        'model.pth is a checkpoint; this page takes images only',
    )
    assert not opened_to_others.files


def test_others_have_only_what_the_command_line_names(opened, opened_to_others, checkpoint, tmp_path):
    def choices(page):
        components = CLIENT.get(f'{page.url}/config').json()['components']
        (found,) = (c['props']['choices'] for c in components if c['props'].get('elem_id') == 'model')
        return [name for name, _ in found]

    assert choices(opened_to_others) == ['small.pth']
    assert choices(opened)[0] == 'small.pth' and 'convnext_atto.d2_in1k' in choices(opened)

    from mmconvnext.page.events import Events
    from mmconvnext.page.models import Models, Source
    from mmconvnext.page.uploads import Uploads

    uploads = Uploads(tmp_path, 1, checkpoints=False)
    image = dict(path=str(uploads.store(BytesIO(noise(0)), 'a.png').path))
    events = Events(Models('cpu'), uploads, [Source('small.pth', str(checkpoint))], published=False)
    assert 'there is no model' in events.classify('convnext_atto.d2_in1k', None, image)[-1]


def test_a_file_called_as_a_network_of_the_zoo_stays_the_file(tmp_path):
    from mmconvnext.page.events import Events
    from mmconvnext.page.models import Models, Source
    from mmconvnext.page.uploads import Uploads

    (tmp_path / 'convnext_tiny.in12k_ft_in1k').touch()
    file = Source('convnext_tiny.in12k_ft_in1k', str(tmp_path / 'convnext_tiny.in12k_ft_in1k'))
    events = Events(Models('cpu'), Uploads(tmp_path, 1, checkpoints=True), [file], published=True)
    assert next(iter(events.sources.values())) == file and len(events.sources) > 100
    assert events.about(file.name, None) == ''
    assert 'Apache-2.0' in events.about('convnext_atto.d2_in1k', None)


def join(page, function, *data):
    """Return the request that the page sends to call one of its functions."""
    body = dict(fn_index=function, data=data, session_hash='abcdefghijk')
    return CLIENT.post(f'{page.url}/gradio_api/queue/join', json=body)


@pytest.mark.parametrize(
    'path', ['/etc/passwd', 'http://127.0.0.1:1/evil.png', '{folder}/../x', '{folder}', '', None, ['x']]
)
def test_requests_name_uploads_only(path, opened):
    if isinstance(path, str):
        path = path.format(folder=opened.app.uploads.folder)
    file = dict(path=path, orig_name='evil.png', meta=dict(_type='gradio.FileData'))
    for data in (file, [file], {'x': {'y': [file]}}):
        answer = join(opened, 0, 'small.pth', None, data)
        assert answer.status_code == 400
        assert 'upload it again' in answer.text
    assert not any('evil' in name for name in opened.files)


def test_an_upload_may_be_named(opened):
    (path,) = upload(opened, ('a.png', noise(0))).json()
    file = dict(path=path, orig_name='evil.png', meta=dict(_type='gradio.FileData'))
    assert 'event_id' in join(opened, 0, 'small.pth', None, file).json()


ODD = {
    'an unknown function': ('POST', 'queue/join', dict(fn_index=10**9, data=[], session_hash='x')),
    'a negative one': ('POST', 'queue/join', dict(fn_index=-1, data=[], session_hash='x')),
    'no function': ('POST', 'queue/join', [1, 2]),
    'too few values': ('POST', 'queue/join', dict(fn_index=0, data=['small.pth'], session_hash='x')),
    'no values': ('POST', 'queue/join', dict(fn_index=1, data=[], session_hash='x')),
    'too many values': ('POST', 'queue/join', dict(fn_index=0, data=['small.pth', None, None, 1])),
    'values that are no list': ('POST', 'queue/join', dict(fn_index=0, data={'0': 1}, session_hash='x')),
    'a function by a fraction': ('POST', 'queue/join', dict(fn_index=0.5, data=[], session_hash='x')),
    'a long name': ('GET', '../assets/' + 'a' * 3000, None),
    'a long name of another kind': ('GET', '../static/' + 'a' * 3000, None),
}


@pytest.mark.parametrize('kind', ODD)
def test_what_gradio_fails_at_is_refused_in_a_line(kind, opened, capfd, caplog):
    method, path, content = ODD[kind]
    answer = CLIENT.request(method, f'{opened.url}/gradio_api/{path}', json=content)
    assert 400 <= answer.status_code < 500
    assert len(caplog.text) < 500 and 'Traceback' not in caplog.text + capfd.readouterr().err
    assert CLIENT.get(f'{opened.url}/config').status_code == 200


def test_an_unknown_session_gets_no_events_and_no_traceback(opened, capfd, caplog):
    with suppress(httpx.TransportError):
        CLIENT.get(f'{opened.url}/gradio_api/queue/data', params=dict(session_hash='unknown'))
    assert 'Traceback' not in caplog.text + capfd.readouterr().err


@pytest.mark.parametrize('host', [b'Host: \r\n', b'Host: :80\r\n', b'Host: @\r\n', b''])
def test_a_request_without_a_host_is_refused(host, opened, opened_to_others):
    for page, status in ((opened, b'403'), (opened_to_others, b'400')):
        port = int(page.url.rpartition(':')[2])
        with create_connection(('127.0.0.1', port), timeout=60) as connection:
            connection.sendall(b'GET /config HTTP/1.0\r\n' + host + b'\r\n')
            assert connection.recv(100).split()[1] == status


def test_long_and_garbled_requests_are_refused(opened):
    address = f'{opened.url}/gradio_api/queue/join'
    assert CLIENT.post(address, content=b'{').status_code == 400
    for number in (b'NaN', b'-Infinity', b'1e400'):
        assert CLIENT.post(address, content=b'{"fn_index": %s, "data": []}' % number).status_code == 400
    for depth in (5_000, 200_000):
        assert CLIENT.post(address, content='[' * depth + ']' * depth).status_code == 400
    assert CLIENT.post(address, content=json.dumps('x' * 2_000_000)).status_code == 413


@pytest.mark.parametrize(
    'path',
    [
        *('gradio_api/file=/etc/passwd', 'gradio_api/file=http://127.0.0.1:1/x', 'gradio_api/info'),
        *('gradio_api/proxy=http://127.0.0.1:1/x', 'gradio_api/file={folder}/../../etc/passwd', 'monitoring'),
        *('docs', 'openapi.json', 'login', 'gradio_api/vibe-code', 'gradio_api/runs'),
    ],
)
def test_what_the_page_does_not_ask_for_is_not_found(path, opened):
    path = path.format(folder=opened.app.uploads.folder)
    assert CLIENT.get(f'{opened.url}/{path}').status_code == 404
    assert CLIENT.post(f'{opened.url}/{path}', json={}).status_code == 404


@pytest.mark.parametrize(
    ('name', 'status'),
    [
        ('%2e%2e/%2e%2e/etc/passwd', 404),
        ('%00', 404),
        ('%252e%252e/x', 403),  # a valid name of a file that does not exist: gradio responds
    ],
)
def test_paths_are_decoded_once(name, status, opened):
    connection = HTTPConnection(opened.url.removeprefix('http://'), timeout=60)
    connection.request('GET', f'/gradio_api/file={opened.app.uploads.folder}/{name}')
    assert connection.getresponse().status == status


def test_other_sites_in_the_same_browser_are_refused(opened, opened_to_others):
    port = opened.url.rpartition(':')[2]
    for headers, status in (
        ({'Host': f'evil.example:{port}'}, 403),  # a name that resolves to this machine
        ({'Origin': 'http://evil.example'}, 403),
        ({'Origin': 'null'}, 403),
        ({'Host': '[bad'}, 400),
        ({'Host': f'127.0.0.2:{port}', 'Origin': f'http://127.0.0.2:{port}'}, 200),
        ({'Host': f'[::1]:{port}', 'Origin': f'http://[::1]:{port}'}, 200),
        ({'Host': '10.0.0.1'}, 403),
        ({'Origin': opened.url}, 200),
        ({'Host': f'localhost:{port}', 'Origin': f'http://localhost:{port}'}, 200),
    ):
        assert CLIENT.get(f'{opened.url}/config', headers=headers).status_code == status
    assert CLIENT.get(f'{opened_to_others.url}/config', headers={'Host': 'my.machine'}).status_code == 200


def test_behind_a_proxy_its_address_and_this_machine_are_answered(opened_by_proxy, checkpoint):
    for headers, status in (
        ({'Host': 'page.example', 'Origin': 'https://page.example'}, 200),
        ({'Origin': 'https://page.example'}, 200),  # the proxy has its own name for this server
        ({'Host': 'page.example'}, 200),
        ({'Host': 'page.example', 'Origin': 'https://evil.example'}, 403),
        ({'Host': 'page.example', 'Origin': 'http://page.example'}, 403),
        ({'Host': 'evil.example'}, 403),
        ({'Host': 'evil.example', 'Origin': 'https://page.example'}, 403),
        ({}, 200),
    ):
        answer = CLIENT.get(f'{opened_by_proxy.url}/config', headers=headers)
        assert answer.status_code == status
        assert status == 403 or answer.json()['root'] == 'https://page.example'
    assert upload(opened_by_proxy, ('model.pth', checkpoint.read_bytes())).status_code == 413
