"""Files are downloaded once, completely, and only if they are what they should be."""

import hashlib
import json
import os
import resource
import shutil
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from tqdm import tqdm

from mmconvnext.checkpoints.downloading import MissingFileError, cache_dir, fetch
from mmconvnext.errors import UserError
from tests.download_servers import BODY, DIGEST, HALF, OTHER, begun, kept
from tests.processes import CONTEXT

pytestmark = pytest.mark.usefixtures('home')


def test_path_is_returned_as_it_is_but_for_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert fetch('~/nothing.pth') == tmp_path / 'nothing.pth'
    assert fetch(Path('nothing.pth')) == Path('nothing.pth')


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
    monkeypatch.setenv('MMCONVNEXT_HOME', '~/mine')
    assert cache_dir() == tmp_path / 'mine'
    monkeypatch.delenv('MMCONVNEXT_HOME')
    assert cache_dir() == tmp_path / 'xdg/mmconvnext'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert cache_dir() == tmp_path / '.cache/mmconvnext'


def test_file_is_downloaded_once_and_leaves_nothing_beside_it(site, home):
    file = fetch(f'{site.url}/net-{DIGEST}.pth')
    assert file == home / 'checkpoints' / f'net-{DIGEST}.pth'
    assert file.read_bytes() == BODY
    assert not begun(home)
    site.stop()
    assert fetch(f'{site.url}/net-{DIGEST}.pth') == file


def test_wrong_hash_deletes_the_file_and_says_so(site, home):
    with pytest.raises(UserError, match=rf'SHA-256 is {DIGEST}\w+, its name promises 00000000'):
        fetch(f'{site.url}/net-00000000.pth')
    assert not kept(home)
    assert not begun(home)


def test_urls_with_the_same_last_part_are_kept_apart(site):
    first = fetch(f'{site.url}/a/net.pth')
    site.body = OTHER
    second = fetch(f'{site.url}/b/net.pth')
    assert (first.read_bytes(), second.read_bytes()) == (BODY, OTHER)


@pytest.mark.parametrize('knows_ranges', [True, False])
def test_body_that_is_always_cut_short_is_never_accepted(site, home, knows_ranges):
    site.drops, site.knows_ranges = 100, knows_ranges
    with pytest.raises(UserError, match=r'the connection ended after [\d,]+ of 262,146 bytes'):
        fetch(f'{site.url}/net.pth')
    assert len(site.asked) == 5
    assert not kept(home)


def test_body_of_unknown_length_is_refused(site, home):
    site.tells_length = False
    with pytest.raises(UserError, match='net.pth has no Content-Length'):
        fetch(f'{site.url}/net.pth')
    assert not kept(home)


@pytest.mark.parametrize('version', [dict(etag='"1"'), dict(etag='W/"1"', modified='yesterday')])
def test_lost_connection_is_resumed_where_it_ended(site, version):
    site.drops = 1
    vars(site).update(version)
    assert fetch(f'{site.url}/net.pth').read_bytes() == BODY
    validator = version.get('modified', '"1"')
    assert [asked[1:] for asked in site.asked] == [(None, None), (f'bytes={HALF}-', validator)]
    assert site.sent == len(BODY)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()


def stall(connection):
    time.sleep(1)


@pytest.mark.parametrize('lose', [reset, stall])
def test_connection_that_is_reset_or_stalls_is_replaced(site, monkeypatch, lose):
    monkeypatch.setattr('mmconvnext.checkpoints.receiving.TIMEOUT', 0.2)
    site.drops, site.lose = 1, lose
    assert fetch(f'{site.url}/net.pth').read_bytes() == BODY
    assert len(site.asked) == 2


@pytest.mark.parametrize(
    'server',
    [
        dict(knows_ranges=False),
        dict(etag=None),  # nothing that would show a changed file
        dict(etag='W/"1"'),
    ],
)
def test_download_starts_over_where_resuming_is_impossible(site, server):
    site.drops = 1
    vars(site).update(server)
    assert fetch(f'{site.url}/net.pth').read_bytes() == BODY
    assert site.sent == HALF + len(BODY)


@pytest.mark.parametrize('knows_if_range', [True, False])
def test_file_that_changes_between_its_halves_is_the_new_one(site, knows_if_range):
    site.drops, site.knows_if_range = 1, knows_if_range
    site.after_a_drop = dict(body=OTHER, etag='"2"')
    assert fetch(f'{site.url}/net.pth').read_bytes() == OTHER


def test_part_that_was_not_asked_for_is_not_used(site):
    site.drops, site.after_a_drop = 1, dict(shift=100)
    assert fetch(f'{site.url}/net.pth').read_bytes() == BODY


def test_file_that_became_shorter_is_downloaded_anew(site):
    site.drops, site.knows_if_range = 1, False
    site.after_a_drop = dict(body=BODY[:100], etag='"2"')
    assert fetch(f'{site.url}/net.pth').read_bytes() == BODY[:100]


def fetch_into(home, url):
    os.environ.update(MMCONVNEXT_HOME=str(home), NO_PROXY='*')
    # tqdm would create a semaphore, which a killed process leaves behind.
    tqdm.set_lock(threading.RLock())
    assert fetch(url).read_bytes() == BODY


def test_eight_processes_download_once(site, home):
    site.delay = 0.5
    processes = [
        CONTEXT.Process(target=fetch_into, args=(home, f'{site.url}/net-{DIGEST}.pth')) for _ in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(site.asked) == 1


def test_part_of_a_killed_process_is_resumed(site, home):
    site.drops, site.lose = 1, lambda connection: time.sleep(5)
    process = CONTEXT.Process(target=fetch_into, args=(home, f'{site.url}/net-{DIGEST}.pth'))
    process.start()
    part = home / f'checkpoints/net-{DIGEST}.pth.part'
    while not part.exists() or not part.stat().st_size:
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    size = part.stat().st_size
    assert not kept(home)
    assert fetch(f'{site.url}/net-{DIGEST}.pth').read_bytes() == BODY
    assert site.asked[-1][1] == f'bytes={size}-'


def test_unreachable_server_says_what_helps(site, home, waits):
    site.stop()
    with pytest.raises(UserError) as error:
        fetch(f'{site.url}/net-{DIGEST}.pth')
    assert sum(waits) == 0
    for word in (
        *(f'{site.url}/net-{DIGEST}.pth', 'Connection refused', 'MMCONVNEXT_MIRROR', 'MMCONVNEXT_HOME'),
        str(home / 'checkpoints' / f'net-{DIGEST}.pth'),
    ):
        assert word in str(error.value)
    assert not kept(home)


@pytest.mark.parametrize(('status', 'kind'), [(403, UserError), (404, MissingFileError)])
def test_refusal_is_final_and_names_the_status(site, home, status, kind):
    site.statuses = [status]
    with pytest.raises(UserError, match=rf'{site.url}/net.pth: the server answers {status}') as error:
        fetch(f'{site.url}/net.pth')
    assert error.type is kind
    assert len(site.asked) == 1
    assert not kept(home)


def test_busy_server_is_asked_again(site):
    site.statuses = [503]
    assert fetch(f'{site.url}/net.pth').read_bytes() == BODY


def test_mirror_is_asked_instead_and_shares_the_cache(site, monkeypatch):
    url = 'https://dl.fbaipublicfiles.com/convnext/net.pth'
    monkeypatch.setenv('MMCONVNEXT_MIRROR', f'{site.url}/models/')
    file = fetch(url)
    assert file.read_bytes() == BODY
    assert [path for path, *_ in site.asked] == ['/models/dl.fbaipublicfiles.com/convnext/net.pth']
    monkeypatch.delenv('MMCONVNEXT_MIRROR')
    assert fetch(url) == file


def test_unreachable_mirror_is_named_with_the_url(site, home, monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_MIRROR', site.url)
    site.stop()
    with pytest.raises(UserError, match=rf'https://example.com/net.pth from {site.url}/example.com/net.pth'):
        fetch('https://example.com/net.pth')
    assert not kept(home)


@pytest.mark.parametrize('kind', ['site', 'hub'])
def test_cache_folder_that_cannot_be_written_is_named(request, tmp_path, monkeypatch, kind):
    server = request.getfixturevalue(kind)
    server.files['config.json'] = b'{}'
    (tmp_path / 'file').touch()
    monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'file/home'))
    with pytest.raises(UserError, match=r'file/home.*Not a directory[\s\S]*MMCONVNEXT_HOME'):
        fetch(f'{server.url}/owner/net/resolve/main/config.json')


def test_full_disk_leaves_no_file(site, home):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limits[1]))  # maximum file size in bytes
        with pytest.raises(UserError, match=r'cannot write .*net.pth: .*MMCONVNEXT_HOME'):
            fetch(f'{site.url}/net.pth')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(site.asked) == 1
    assert not kept(home)


def test_a_file_that_changed_in_the_cache_is_refused_until_it_is_accepted(site, home):
    file = fetch(f'{site.url}/net.pth')
    record = file.with_name(f'{file.name}.sha256')
    known = json.loads(record.read_text())
    assert known['sha256'] == hashlib.sha256(BODY).hexdigest() and known['bytes'] == len(BODY)
    os.utime(file, (1, 1))  # a copy; its content is hashed once
    assert fetch(f'{site.url}/net.pth') == file
    assert json.loads(record.read_text())['mtime_ns'] == 10**9
    file.write_bytes(OTHER)
    with pytest.raises(UserError, match='is another file than before') as error:
        fetch(f'{site.url}/net.pth')
    for word in (known['sha256'], hashlib.sha256(OTHER).hexdigest(), str(record), known['first'], site.url):
        assert word in str(error.value)
    record.unlink()
    assert fetch(f'{site.url}/net.pth').read_bytes() == OTHER


@pytest.mark.parametrize('kind', ['site', 'hub'])
def test_a_server_that_has_another_file_than_at_first_is_refused(request, home, kind):
    server = request.getfixturevalue(kind)
    server.files['model.safetensors'] = BODY
    url = f'{server.url}/owner/net/resolve/main/model.safetensors'
    first = fetch(url)
    (record,) = (home / 'checkpoints').glob('*.sha256')
    shutil.rmtree(home / 'hub', ignore_errors=True)
    first.unlink(missing_ok=True)
    server.files['model.safetensors'] = server.body = OTHER
    for _ in range(2):
        with pytest.raises(UserError, match='another file than before'):
            fetch(url)
    assert not kept(home)
    record.unlink()
    assert fetch(url).read_bytes() == OTHER


def test_a_cache_of_others_is_used_without_a_record(site, home):
    file = fetch(f'{site.url}/net.pth')
    file.with_name(f'{file.name}.sha256').unlink()
    file.with_name(f'{file.name}.sha256').symlink_to('/proc/none/nothing')  # cannot be replaced
    assert fetch(f'{site.url}/net.pth') == file


def test_a_process_that_waits_says_for_what(site, home, capfd, monkeypatch):
    monkeypatch.setattr('mmconvnext.checkpoints.downloading.REPORT_SECONDS', 0.2)
    file = fetch(f'{site.url}/net.pth')
    file.unlink()
    lock = FileLock(f'{file}.lock', thread_local=False)
    lock.acquire()
    timer = threading.Timer(2, lock.release)
    timer.start()
    assert fetch(f'{site.url}/net.pth') == file
    timer.join()
    said = capfd.readouterr().err
    assert f'Waiting for another process that downloads {file.name}, 1 s so far' in said
    assert f'{file}.lock' in said
