import json
import os
import socket
import warnings

import numpy as np
import pytest

from mmconvnext.errors import UserError
from mmconvnext.reports.run_logs import MAX_LOG_BYTES, read_run
from mmconvnext.reports.runs import plot_runs

GOOD = [json.dumps(dict(iter=i, step=i, loss=3.0 - i / 10, lr=0.1)).encode() for i in (10, 20)]
DAMAGED = {
    'no JSON': b'{"iter": 15, "loss"',
    'list': b'[15, 1.0]',
    'number': b'15',
    'null': b'null',
    'no place': b'{"loss": 1.0}',
    'place as text': b'{"iter": "15", "loss": 1.0}',
    'place as list': b'{"step": [15], "accuracy/top1": 1.0}',
    'place as null': b'{"step": null, "accuracy/top1": 1.0}',
    'place as truth': b'{"iter": true, "loss": 1.0}',
    'negative place': b'{"iter": -1, "loss": 1.0}',
    'half a place': b'{"iter": 1.5, "loss": 1.0}',
    'place beyond all': b'{"iter": 1e300, "loss": 1.0}',
    'place NaN': b'{"iter": NaN, "loss": 1.0}',
    'epoch as text': b'{"iter": 15, "epoch": "two"}',
    'negative epoch': b'{"iter": 15, "epoch": -2}',
    'long number': b'{"iter": ' + b'9' * 6000 + b'}',
    'deep': b'[' * 100_000 + b']' * 100_000,
    'Latin-1': '{"iter": 15, "é": 1.0}'.encode('latin-1'),
    'NUL': bytes(50),
}


def write(folder, lines, end=b'\n'):
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data/scalars.json').write_bytes(b'\n'.join(lines) + end)
    return folder / 'vis_data/scalars.json'


@pytest.mark.parametrize('line', DAMAGED.values(), ids=DAMAGED)
def test_damaged_line_is_left_out_with_a_warning(tmp_path, line):
    write(tmp_path / 'a', [GOOD[0], line, GOOD[1]])
    with pytest.warns(UserWarning, match=r'a/vis_data/scalars.json, line 2: left out'):
        run = read_run(tmp_path)
    assert list(run.training) == [10, 20]
    assert not run.validation


def test_damaged_lines_are_counted_in_one_warning(tmp_path):
    write(tmp_path / 'a', [GOOD[0], b'x', b'{}', GOOD[1], b'y'])
    with pytest.warns(UserWarning, match='line 2 and 2 other lines') as caught:
        read_run(tmp_path)
    assert len(caught) == 1


@pytest.mark.parametrize('end', [b'\n{"iter": 30, "l', b'\n{"iter": 30, "\xc3', b''])
def test_half_a_line_at_the_end_is_normal(tmp_path, end):
    write(tmp_path / 'a', GOOD, end)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert list(read_run(tmp_path).training) == [10, 20]


def test_damaged_place_in_a_later_log_keeps_the_earlier_ones(tmp_path):
    write(tmp_path / '20260101_000000', GOOD)
    write(tmp_path / '20260102_000000', [b'{"iter": -1, "loss": 1.0}', b'{"iter": 30, "loss": 1.0}'])
    with pytest.warns(UserWarning, match='20260102_000000/vis_data/scalars.json, line 1'):
        assert list(read_run(tmp_path).training) == [10, 20, 30]


def test_only_numbers_of_a_row_are_kept(tmp_path):
    write(tmp_path / 'a', [b'{"iter": 1, "loss": "1", "lr": null, "flag": true, "acc": [1], "n": 3}'])
    assert read_run(tmp_path).training == {1: {'iter': 1, 'n': 3}}


def pipe(path):
    os.mkfifo(path)


def unix_socket(path):
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))  # a socket's path has at most 108 bytes


def device(path):
    path.symlink_to('/dev/zero')


def huge(path):
    path.touch()
    os.truncate(path, MAX_LOG_BYTES + 1)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (pipe, 'is a pipe'),
        (unix_socket, 'cannot be read'),
        (device, 'is a device'),
        (huge, 'has 268,435,457 bytes'),
        (lambda path: path.mkdir(), 'is a folder'),
        (lambda path: path.symlink_to(path), 'cannot be read|has no training log'),
    ],
)
def test_log_that_is_no_ordinary_file_is_an_error(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)
    log = write(tmp_path / 'a', GOOD)
    log.unlink()
    make(log)
    with pytest.raises(UserError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize('seed', range(30))
def test_mutated_log_is_drawn_or_refused(tmp_path, seed):
    """Bytes of a valid log are replaced, removed and repeated."""
    random = np.random.default_rng(seed)
    content = b'\n'.join([*GOOD, b'{"accuracy/top1": 50.0, "step": 1}'] * 4)
    for _ in range(random.integers(1, 12)):
        at, length = random.integers(len(content)), random.integers(1, 40)
        junk = [random.bytes(length), b'', content[at : at + length] * 2, b'1e308', b'-1', b'null', b'[[[[']
        content = (
            content[:at] + junk[random.integers(len(junk))] + content[at + length * random.integers(2) :]
        )
    write(tmp_path / 'a', [content])
    with warnings.catch_warnings():
        warnings.filterwarnings('error', category=RuntimeWarning)
        warnings.filterwarnings('ignore', category=UserWarning, message='.*left out')
        try:
            run = read_run(tmp_path)
        except UserError as error:
            assert 'has no training log' in str(error)
            return
        values = [value for row in run.training.values() for value in row.values()]
        assert all(isinstance(value, float) for value in values)
        if seed % 5 == 0:  # a picture takes a second
            plot_runs([tmp_path], tmp_path / 'out.png')
