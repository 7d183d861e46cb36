"""Readable files and writable folders are recognized before they are used."""

import os
import socket

import pytest

from mmconvnext.errors import UserError
from mmconvnext.files import check_place, check_regular, check_writable, open_regular, put_in_place


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
    # A socket cannot be opened.
    with pytest.raises(OSError if kind == 'socket' else UserError):
        open_regular(path)


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / 'missing')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('there', 'exists already'),
        ('link', 'exists already'),
        ('there/x/out.csv', 'is a file and no folder'),
        ('x' * 300, 'File name too long'),
        ('closed/out.csv', 'Permission denied'),
        ('closed/new/out.csv', 'Permission denied'),
        ('/proc/out.csv', 'cannot be written'),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused(tmp_path, name, message):
    (tmp_path / 'there').touch()
    (tmp_path / 'link').symlink_to('nowhere')
    (tmp_path / 'closed').mkdir(mode=0o500)
    if 'closed' in name and os.access(tmp_path / 'closed', os.W_OK):
        pytest.skip('this user may write everywhere')
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(UserError, match=message):
        check_place(tmp_path / name)
    assert sorted(tmp_path.rglob('*')) == before


def test_a_file_that_may_be_replaced_is_left_alone_by_the_check(tmp_path):
    (tmp_path / 'out.csv').write_text('old')
    check_writable(tmp_path / 'out.csv')
    check_writable(tmp_path / 'new/folder/out.csv')
    assert (tmp_path / 'out.csv').read_text() == 'old' and not (tmp_path / 'new').exists()
    with pytest.raises(UserError, match='is a folder; name a file in it'):
        check_writable(tmp_path)


def test_a_file_never_takes_the_place_of_a_folder(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder/mine.txt').write_text('mine')
    (tmp_path / 'part').write_text('new')
    with pytest.raises(OSError):
        put_in_place(tmp_path / 'part', tmp_path / 'folder')
    assert (tmp_path / 'folder/mine.txt').read_text() == 'mine'
