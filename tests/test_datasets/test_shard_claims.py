"""Shards and indices with false sizes and counts."""

import json
import os
import tarfile

import pytest
from mmengine.registry import TRANSFORMS

from mmconvnext.datasets import Shards
from mmconvnext.errors import UserError
from tests.servers import serve


@TRANSFORMS.register_module()
class KeepBytes:
    """Replaces LoadImageFromFile in the pipeline and keeps the encoded bytes."""

    def __call__(self, results):
        return results


KEEP = [dict(type='KeepBytes')]
HONEST = dict(name='a.tar', samples=3, size=20_480)
CLAIMS = [
    [HONEST | dict(samples=10**12)],
    [HONEST | dict(samples=10**400)],
    [HONEST | dict(samples=2**63, size=2**70)],
    [HONEST | dict(size=10**400)],
    [HONEST, HONEST],
]


@pytest.mark.parametrize('shards', CLAIMS)
def test_an_index_does_not_claim_more_than_is_there(tmp_path, shards):
    (tmp_path / 'a.tar').write_bytes(bytes(HONEST['size']))
    (tmp_path / 'index.json').write_text(json.dumps(dict(images='x', classes=['a'], shards=shards)))
    with serve(tmp_path) as url:
        for place in (str(tmp_path), url):
            with pytest.raises(UserError, match='index.json is not an index of shards: '):
                Shards(place, KEEP, batch_size=1)


DEEP = (
    b'[' * 200_000,
    b'{"shards": ' + b'[' * 990 + b']' * 990 + b'}',
    b' ' * 2**24 + b'{}',
    b'{"images": ' + b'9' * 5000,
)


@pytest.mark.parametrize('content', DEEP, ids=['lists', 'shards', 'long', 'digits'])
def test_any_other_index_ends_in_a_message(tmp_path, content):
    (tmp_path / 'index.json').write_bytes(content)
    with serve(tmp_path) as url:
        for place in (str(tmp_path), url):
            with pytest.raises(UserError, match='index.json is not an index of shards: '):
                Shards(place, KEEP, batch_size=1)


@pytest.mark.parametrize('kind', ['pipe', 'device', 'folder'])
def test_an_index_is_a_regular_file(tmp_path, kind):
    index = tmp_path / 'index.json'
    {'pipe': os.mkfifo, 'folder': os.mkdir, 'device': lambda path: path.symlink_to('/dev/zero')}[kind](index)
    with pytest.raises(UserError, match='index.json'):
        Shards(str(tmp_path), KEEP, batch_size=1)


def header(kind, size=0, name='x', **fields):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    for place, content in fields.items():
        at = dict(real_size=483, checksum=148)[place]
        block[at : at + len(content)] = content
    block[148:156] = b' ' * 8
    block[148:156] = b'%06o\0 ' % sum(block)
    return bytes(block)


def sample(key, label=b'0', image=b'x'):
    content = b''
    for suffix, data in (('png', image), ('cls', label)):
        content += header(tarfile.REGTYPE, len(data), f'{key}.{suffix}') + data + bytes(-len(data) % 512)
    return content


PAX_HOLES = (
    b'22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n29 GNU.sparse.name=z.png     \n'
    b'36 GNU.sparse.realsize=9999999999   \n'
)
NEGATIVE = b'17 size=-1000000\n'
ODD_TARS = {
    'holes': header(tarfile.GNUTYPE_SPARSE, name='z.png', real_size=b'77777777777\0'),
    'holes of pax': header(tarfile.XHDTYPE, len(PAX_HOLES))
    + PAX_HOLES.ljust(512, b'\0')
    + header(tarfile.REGTYPE, 512, 'z.png')
    + b'0\n'.ljust(512, b'\0'),
    'size below zero': header(tarfile.XHDTYPE, len(NEGATIVE)) + NEGATIVE.ljust(512, b'\0'),
    'huge file': header(tarfile.REGTYPE, 8**11 - 1, 'z.png'),
    'huge name': header(tarfile.GNUTYPE_LONGNAME, 7 * 10**9),
    'huge name of pax': header(tarfile.XHDTYPE, 7 * 10**9),
    'names of names': (header(tarfile.GNUTYPE_LONGNAME, 3) + b'ab\0'.ljust(512, b'\0')) * 3000,
    'a name twice': sample('s0'),
    'huge label': sample('z', label=b'9' * 5000),
    'label of another alphabet': sample('z', label='٠'.encode()),
}


@pytest.mark.parametrize('kind', ODD_TARS)
def test_shards_that_claim_what_is_not_there_end_in_a_message(tmp_path, kind):
    content = sample('s0') + ODD_TARS[kind] + sample('s1') + bytes(10_240)
    (tmp_path / 'a.tar').write_bytes(content)
    index = dict(images='x', classes=['a'], shards=[dict(name='a.tar', samples=3, size=len(content))])
    (tmp_path / 'index.json').write_text(json.dumps(index))
    with pytest.raises(UserError, match=r'a\.tar') as raised:
        list(Shards(str(tmp_path), KEEP, batch_size=1, shuffle=False))
    assert len(str(raised.value)) < 500
