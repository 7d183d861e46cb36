"""tools/app.py from start to exit."""

import os
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from mmconvnext.errors import UserError
from tests.conftest import REPO

httpx = pytest.importorskip('httpx')
pytest.importorskip('gradio')


@pytest.mark.slow
def test_the_page_answers_this_machine_and_takes_its_folder_with_it(checkpoint, tmp_path):
    process = subprocess.Popen(
        [sys.executable, REPO / 'tools/app.py', '--checkpoint', checkpoint, '--port', '0'],
        env={**os.environ, 'PYTHONPATH': str(REPO), 'TMPDIR': str(tmp_path), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().split()[1].rstrip(';')
        assert url.startswith('http://127.0.0.1:')
        assert 'small.pth' in httpx.get(f'{url}/config', timeout=60).text
        assert len(list(tmp_path.glob('mmconvnext-*'))) == 1
        process.terminate()
        assert process.wait() == 0
    finally:
        process.kill()
    # The libraries create empty folders when they are imported.
    assert not list(tmp_path.glob('mmconvnext-*')) and not any(p.is_file() for p in tmp_path.rglob('*'))


def test_nothing_is_left_when_a_page_cannot_be_shown(tmp_path, monkeypatch):
    from mmconvnext.page.app import is_own, listening, serve

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    with listening('127.0.0.1', 0) as listener:
        assert is_own(listener)
        with pytest.raises(UserError, match='choose others with --host and --port'):
            serve(port=listener.getsockname()[1])
    with listening('0.0.0.0', 0) as listener:
        assert not is_own(listener)
    with pytest.raises(UserError, match='did you mean'):
        serve(model=['convnext_atto.d2_in2k'])
    with pytest.raises(UserError, match='checkpoint none.pth does not exist'):
        serve(checkpoint='none.pth')
    for megabytes in (0, float('inf'), float('nan')):
        with pytest.raises(UserError, match='above 0'):
            serve(max_megabytes=megabytes)
    for origin in ('page.example', 'https://page.example/path', 'https://', 'ftp://x', 'https://[x'):
        with pytest.raises(UserError, match='expected one like https://page.example.org'):
            serve(origin=origin)
    with pytest.raises(UserError, match='leave --host at 127.0.0.1'):
        serve(host='0.0.0.0', port=0, origin='https://page.example')
    assert not list(tmp_path.iterdir())


def test_folders_of_killed_pages_are_deleted_and_no_others(tmp_path, monkeypatch):
    from filelock import FileLock

    from mmconvnext.page import app

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(app, 'MIN_AGE', 0)
    for name in ('mmconvnext-page-dead', 'mmconvnext-page-alive', 'mmconvnext-other', 'elsewhere'):
        (tmp_path / name / 'files').mkdir(parents=True)
        (tmp_path / name / 'files/a.png').touch()
        (tmp_path / name / 'owned').touch()
    (tmp_path / 'mmconvnext-page-new/files').mkdir(parents=True)  # not locked yet
    (tmp_path / 'mmconvnext-page-link').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'mmconvnext-page-dead/out').symlink_to(tmp_path / 'elsewhere')
    before = {path.name for path in tmp_path.iterdir()}
    with FileLock(tmp_path / 'mmconvnext-page-alive/owned'):
        app.remove_left_folders()
    assert before - {path.name for path in tmp_path.iterdir()} == {'mmconvnext-page-dead'}
    assert (tmp_path / 'elsewhere/files/a.png').exists()


@pytest.mark.slow
def test_the_page_ends_soon_whatever_is_uploaded(checkpoint, tmp_path):
    command = [sys.executable, REPO / 'tools/app.py', '--checkpoint', checkpoint, '--port', '0']
    env = {**os.environ, 'PYTHONPATH': str(REPO), 'TMPDIR': str(tmp_path), 'OMP_NUM_THREADS': '1'}
    for end in ('kill', 'terminate'):
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        host, port = process.stdout.readline().split()[1].rstrip(';').removeprefix('http://').split(':')
        with socket.create_connection((host, int(port))) as slow:
            head = 'POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n'
            slow.sendall(f'{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n'.encode())
            time.sleep(0.5)
            getattr(process, end)()
            process.wait(timeout=25)  # shorter than the 30 seconds that an upload may pause
        # A killed page leaves its folder. The second page deletes it, and its own on exit.
        assert len(list(tmp_path.glob('mmconvnext-*'))) == (end == 'kill')
