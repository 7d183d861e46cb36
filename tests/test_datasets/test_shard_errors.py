"""Wrong indexes and addresses of shards end in a message, and run nothing."""

import json

import pytest

from mmconvnext.errors import UserError
from tests.servers import serve
from tests.test_datasets.small_shards import shards_of


def edited(**changes):
    def edit(index):
        for key, value in changes.items():
            if value is None:
                del index[key]
            else:
                index[key] = value

    return edit


def shard_with(**changes):
    return lambda index: index['shards'][1].update(changes)


@pytest.mark.parametrize(
    'edit, message',
    [
        (edited(classes=None), "index.json is not an index of shards: 'classes' is missing; make it with"),
        (edited(classes='cat'), "'classes' is 'cat', and should be a list of names"),
        (edited(shards=[]), r"'shards' is \[\], and should be a list of at least one shard"),
        (shard_with(samples=-1), r"in shards\[1\], 'samples' is -1, and should be a whole number above 0"),
        (shard_with(name='../a.tar'), r"in shards\[1\], 'name' is '../a.tar', and should be a plain"),
        (shard_with(name='a;rm b'), r"in shards\[1\], 'name' is 'a;rm b', and should be a plain"),
        (shard_with(name='000000.tar'), '000000.tar is listed twice'),
        (shard_with(size=70_000), r'000001.tar has [\d,]+ bytes, but index.json lists it with 70,000 bytes'),
        (shard_with(name='x.tar'), 'x.tar is missing, but index.json lists it'),
        (edited(classes=['cat']), 'with the label .*in cls a label below 1'),
    ],
)
def test_wrong_index_is_told_in_one_message(root, tmp_path, edit, message):
    for file in root.glob('*.tar'):
        (tmp_path / file.name).hardlink_to(file)
    index = json.loads((root / 'index.json').read_text())
    edit(index)
    (tmp_path / 'index.json').write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        list(shards_of(tmp_path))


def test_roots_that_hold_no_index(tmp_path):
    with pytest.raises(
        UserError, match='index.json cannot be read: .*tools/make_shards.py, or correct data_r'
    ):
        shards_of(tmp_path)
    (tmp_path / 'index.json').write_text('{')
    with pytest.raises(UserError, match='index.json is not an index of shards: Expecting'):
        shards_of(tmp_path)
    with (
        serve(tmp_path) as url,
        pytest.raises(UserError, match='nothing/index.json cannot be read: .*exit 22'),
    ):
        shards_of(f'{url}/nothing')


@pytest.mark.parametrize(
    'root',
    [
        'pipe:touch ran; cat {}',
        'pipe://touch ran',
        'PIPE:touch ran',
        'https://host/$(touch ran)',
        "https://host/'; touch ran; '",
        'https://host/\ntouch ran',
        'gs://bucket/`touch ran`',
        's3://bucket/path',
        'file:///tmp/shards',
        'file:shards',
        'scp://host/path',
        'ais://bucket',
        'htgs://bucket',
    ],
)
def test_a_root_that_is_no_plain_address_is_refused_and_runs_nothing(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='A command is not run'):
        shards_of(root)
    assert not list(tmp_path.iterdir())


def test_shard_with_fewer_samples_than_listed(root, tmp_path):
    for file in root.glob('*.tar'):
        (tmp_path / file.name).hardlink_to(file)
    index = json.loads((root / 'index.json').read_text())
    index['shards'][6]['samples'] = 8
    (tmp_path / 'index.json').write_text(json.dumps(index))
    with pytest.raises(
        UserError, match='000006.tar cannot be read: it ends after 5 samples, 8 were expected'
    ):
        list(shards_of(tmp_path, batch_size=1))


def test_more_in_a_batch_than_there_are_samples(root):
    with pytest.raises(UserError, match='has 53 samples, too few for 1 x 64 in each of 1 processes'):
        shards_of(root, batch_size=64)
