"""Only regular files are read."""

import os
import socket

import pytest

from mmconvnext.errors import UserError
from mmconvnext.files import check_regular, open_regular


def test_reads_a_regular_file_and_links_to_it(tmp_path):
    (tmp_path / 'file').write_bytes(b'content')
    (tmp_path / 'link').symlink_to(tmp_path / 'file')
    for name in ('file', 'link'):
        check_regular(tmp_path / name)
        with open_regular(tmp_path / name) as file:
            assert file.read() == b'content'


@pytest.mark.parametrize('kind', ['pipe', 'folder', 'device', 'socket'])
def test_refuses_what_is_no_regular_file(tmp_path, kind):
    path = tmp_path / kind
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    with pytest.raises(UserError, match=f'is a {kind}; expected a regular file'):
        check_regular(path)
    # A socket cannot be opened at all.
    with pytest.raises(OSError if kind == 'socket' else UserError):
        open_regular(path)


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / 'missing')
