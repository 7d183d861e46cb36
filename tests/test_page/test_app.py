"""tools/app.py from its start to its end."""

import os
import subprocess
import sys
import tempfile

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
    # The libraries make empty folders when they are imported.
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
        serve(model='convnext_atto.d2_in2k')
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
