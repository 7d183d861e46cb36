"""Shards are written atomically and reproducibly, and only into their own folder."""

import resource
import runpy
import shutil
import signal
import tarfile
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from filelock import FileLock

from mmconvnext.datasets.shard_index import read_index
from mmconvnext.datasets.shard_writing import make_shards
from mmconvnext.errors import UserError

REPO = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """Create 60 files of 2 to 31 kB with arbitrary content."""
    for i in range(60):
        file = tmp_path / 'images' / ('cat', 'dog.v2')[i % 2] / f'{i}.a b.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([i]) * (1000 + 500 * i))
    return tmp_path / 'images'


def contents(out):
    return {file.name: file.read_bytes() for file in out.iterdir()}


def test_images_keep_their_bytes_and_labels(folder, tmp_path):
    index = make_shards(folder, tmp_path / 'out', max_size='200KB', workers=2)
    assert (index.classes, index.samples) == (('cat', 'dog.v2'), 60)
    assert sorted(contents(tmp_path / 'out')) == [*(s.name for s in index.shards), 'index.json']
    found = {}
    for shard in index.shards:
        assert (tmp_path / 'out' / shard.name).stat().st_size == shard.size <= 200_000
        with tarfile.open(tmp_path / 'out' / shard.name) as tar:
            members = tar.getmembers()
            assert len(members) == 2 * shard.samples
            for cls, image in zip(members[::2], members[1::2], strict=True):
                content = tar.extractfile(image).read()
                found[content[0]] = (len(content), int(tar.extractfile(cls).read()), cls.name[:9])
    assert len(index.shards) > 4
    assert {i: size for i, (size, _, _) in found.items()} == {i: 1000 + 500 * i for i in range(60)}
    assert all(label == i % 2 for i, (_, label, _) in found.items())
    order = sorted(found, key=lambda i: found[i][2])
    assert order != sorted(order)  # classes are mixed
    assert sorted(number for _, _, number in found.values()) == [f'{i:09d}' for i in range(60)]


@pytest.fixture
def large_folder(tmp_path):
    """Create 12 files of 4 MB, so that writing takes long enough to be killed during it."""
    for i in range(12):
        file = tmp_path / 'large/cat' / f'{i}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([i]) * 4_000_000)
    return tmp_path / 'large'


def test_killed_and_started_again_gives_the_same_files(large_folder, tmp_path):
    options = dict(per_shard=4, workers=1)
    make_shards(large_folder, tmp_path / 'whole', **options)
    out = tmp_path / 'out'
    process = get_context('fork').Process(target=make_shards, args=(large_folder, out), kwargs=options)
    process.start()
    while not (out / '.000001.tar.part').exists() and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = {file.name for file in out.iterdir()}
    assert left == {'.lock', '.000001.tar.part', '000000.tar', 'unfinished.json'}
    kept = (out / '000000.tar').stat().st_mtime_ns
    with pytest.raises(
        UserError, match='holds shards that are not complete; start tools/make_shards.py again'
    ):
        read_index(str(out))

    make_shards(large_folder, out, **options)
    assert contents(out) == contents(tmp_path / 'whole')
    assert (out / '000000.tar').stat().st_mtime_ns == kept


def test_full_disk_leaves_no_broken_shard(large_folder, tmp_path):
    """A limit on the file size makes a write fail halfway, as a full disk would."""
    out, limits = tmp_path / 'out', resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, limits[1]))
    try:
        with pytest.raises(
            UserError, match='File too large.*that are complete are kept; start again to continue'
        ):
            make_shards(large_folder, out, per_shard=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.name for file in out.iterdir()} <= {'.lock', 'unfinished.json'}
    make_shards(large_folder, out, per_shard=3)
    assert len(contents(out)) == 5


def test_done_again_changes_nothing(folder, tmp_path):
    make_shards(folder, tmp_path / 'out', per_shard=20)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / 'out').iterdir()}
    make_shards(folder, tmp_path / 'out', per_shard=20)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / 'out').iterdir()} == before


def test_folder_of_other_shards_is_refused(folder, tmp_path):
    out = tmp_path / 'out'
    make_shards(folder, out, per_shard=20)
    before = contents(out)
    with pytest.raises(
        UserError, match='holds shards of other images than are in .* now, or of another size'
    ):
        make_shards(folder, out, per_shard=10)
    (folder / 'cat/0.a b.jpg').write_bytes(b'another')
    with pytest.raises(UserError, match='holds shards of other images'):
        make_shards(folder, out, per_shard=20)
    assert contents(out) == before


def test_two_writers_do_not_meet(folder, tmp_path):
    (tmp_path / 'out').mkdir()
    with FileLock(tmp_path / 'out/.lock'), pytest.raises(UserError, match='another make_shards writes to'):
        make_shards(folder, tmp_path / 'out')


def test_wrong_input_writes_nothing(folder, tmp_path, monkeypatch):
    def refuse(message, *args, **options):
        with pytest.raises(UserError, match=message):
            make_shards(*args, **options)
        assert not out.exists()

    out = tmp_path / 'out'
    refuse('nothing is not a folder; name one that holds one folder per class', tmp_path / 'nothing', out)
    refuse('where it would be taken for a class', folder, folder / 'out')
    refuse('--max-size 1 pound is not a size; write it as 1GB', folder, out, max_size='1 pound')
    refuse('--per-shard is 0; it should be at least 1', folder, out, per_shard=0)
    refuse('exclude each other', folder, out, per_shard=3, max_size='1GB')
    (tmp_path / 'empty/cat').mkdir(parents=True)
    refuse('has no images in 1 folder; it should have', tmp_path / 'empty', out)
    free = shutil.disk_usage(tmp_path).free
    large = tmp_path / 'huge/cat/0.jpg'
    large.parent.mkdir(parents=True)
    with large.open('wb') as file:
        file.truncate(free + 10**9)  # a sparse file, which uses no disk space
    refuse('the shards need .* GB, and the disk of .* has .* GB left', tmp_path / 'huge', out)
    with pytest.raises(UserError, match='is not empty, and nothing in it says that make_shards began there'):
        make_shards(folder, tmp_path)


def test_tool_tells_how_far_it_is(folder, tmp_path, monkeypatch, capsys):
    arguments = ['make_shards.py', str(folder), str(tmp_path / 'out'), '--per-shard', '30', '--workers', '1']
    monkeypatch.setattr('sys.argv', arguments)
    runpy.run_path(str(REPO / 'tools/make_shards.py'), run_name='__main__')
    assert '000001.tar written, 2 of 2 shards' in capsys.readouterr().out
