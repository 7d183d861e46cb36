"""Untrusted files are read by a process that may crash."""

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from mmconvnext.errors import UserError

pytest.importorskip('gradio')

# A reader that runs the files, as no real one should.
CODE = """
import mmconvnext.page.vetting as vetting
vetting.MIN_SECONDS, vetting.MIN_MEMORY = 2, 300_000_000
def read(source, device):
    exec(open(source.network).read(), globals())
vetting.Model = read
vetting.work()
"""
COMMAND = [sys.executable, '-c', CODE]
FILES = {
    'endless': ('while True: pass', 'ended its reader with SIG(XCPU|KILL)'),
    'large': ('x = bytearray(10**10)', 'takes more memory'),
    'growing': ('x = [bytes(10**6) for _ in range(10**6)]', 'takes more memory'),
    'crashing': ('import ctypes; ctypes.string_at(0)', 'ended its reader with SIGSEGV'),
    'deep': ('def f(): f()\nf()', 'RecursionError'),
    'leaving': ('raise SystemExit(3)', 'cannot be read as a checkpoint'),
    'ending': ('import os; os._exit(3)', 'cannot be read as a checkpoint'),
    'verbose': ('raise ValueError("x" * 10**7)', 'ValueError: xxx'),
    'printing': ('print(\'""\'); raise KeyError("x")', 'KeyError'),
}


@pytest.fixture(scope='module')
def vetting():
    from mmconvnext.page import vetting

    watched = vetting.Vetting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vetting, 'COMMAND', COMMAND)
        watched._start()
    yield watched
    watched.close()


@pytest.fixture
def reject(vetting, tmp_path):
    """Return the error for a file with the given code."""

    def reject(code):
        (tmp_path / 'a.pth').write_text(code)
        vetting._answers.clear()
        with pytest.raises(UserError) as caught:
            vetting.check(tmp_path / 'a.pth')
        return str(caught.value)

    return reject


@pytest.mark.parametrize('name', FILES)
def test_whatever_a_file_does_to_its_reader_the_next_one_is_read(name, vetting, reject, tmp_path):
    code, message = FILES[name]
    error = reject(code)
    assert re.search(message, error) and 'a.pth' in error and len(error) < 3000
    (tmp_path / 'good.pth').touch()
    vetting.check(tmp_path / 'good.pth')


def test_readers_that_sleep_are_ended_and_dead_ones_are_replaced(vetting, reject, monkeypatch, tmp_path):
    (tmp_path / 'good.pth').touch()
    vetting.check(tmp_path / 'good.pth')
    monkeypatch.setattr('mmconvnext.page.vetting.MIN_SECONDS', 1)
    assert 'took longer than 2 s' in reject('import time; time.sleep(100)')
    assert vetting._process.poll() is not None
    monkeypatch.undo()
    monkeypatch.setattr('mmconvnext.page.vetting.COMMAND', COMMAND)
    assert 'KeyError' in reject('raise KeyError')  # by a new process
    os.kill(vetting._process.pid, signal.SIGKILL)
    vetting._process.wait()
    assert 'KeyError' in reject('raise KeyError')


def test_each_file_is_read_once_and_waiting_has_an_end(vetting, monkeypatch, tmp_path):
    (tmp_path / 'a.pth').write_text(f'open({str(tmp_path / "log")!r}, "a").write("read ")')
    for _ in range(2):
        vetting.check(tmp_path / 'a.pth')
    assert (tmp_path / 'log').read_text() == 'read '
    monkeypatch.setattr('mmconvnext.page.vetting.MAX_WAIT_SECONDS', 0.1)
    (tmp_path / 'b.pth').write_text('while True: pass')
    thread = threading.Thread(target=lambda: pytest.raises(UserError, vetting.check, tmp_path / 'b.pth'))
    thread.start()
    while not vetting._lock.locked():
        time.sleep(0.001)
    with pytest.raises(UserError, match='try again in a minute'):
        vetting.check(tmp_path / 'a.pth')
    thread.join()


def test_a_checkpoint_is_taken_and_what_is_none_is_not(checkpoint, tmp_path):
    from mmconvnext.page.vetting import Vetting

    vetting = Vetting()
    vetting.check(checkpoint)
    threads = Path(f'/proc/{vetting._process.pid}/task')
    assert len(list(threads.iterdir())) == 1  # otherwise forking would not be safe
    (tmp_path / 'a.pth').write_bytes(b'\x80\x02}.')
    with pytest.raises(UserError, match='a.pth'):
        vetting.check(tmp_path / 'a.pth')
    vetting.close()
    (tmp_path / 'b.pth').touch()
    with pytest.raises(UserError, match='does not start'):
        vetting.check(tmp_path / 'b.pth')
