"""Which samples does a tar file hold?"""

import re
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from webdataset.gopen import set_options
from webdataset.tariterators import base_plus_ext, group_by_keys

from .shard_index import Shard, open_file
from .walking import IMAGE_SUFFIXES

# As the members of a sample are named.
SUFFIXES = tuple(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
# Of headers that hold the name of the file behind them.
NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
MAX_NAME_BYTES = 1 << 16
MAX_MEMBER_BYTES = 1 << 30
META = re.compile('__[^/]*__($|/)')  # as webdataset names what is no sample


def images_in(sample: dict) -> list[str]:
    """The suffixes of its images."""
    return [suffix for suffix in sample if suffix in SUFFIXES]


class Member(tarfile.TarInfo):
    """A header of a tar file, which claims no more than an image, a label and a name need."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> 'Member':
        member = super().frombuf(buf, encoding, errors)
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f'{member.name[:100]} is a sparse file')
        if member.type in NAMES and member.size > MAX_NAME_BYTES:
            raise tarfile.ReadError(f'it has a name of {member.size:,} bytes')
        return member


def members_of(url: str, stream: BinaryIO, wanted: Callable[[str], bool]) -> Iterator[dict]:
    """Yield names and contents of the files of a tar file as webdataset's ``group_by_keys`` takes them.

    The last one is empty. Closed where reading ends early.

    Raises:
        OSError, tarfile.TarError: it cannot be read, or claims files that no shard has.
    """
    with tarfile.open(fileobj=stream, mode='r|', tarinfo=Member) as tar:
        for member in tar:
            if member.isreg() and not META.match(member.name) and wanted(member.name):
                if member.issparse() or not 0 <= member.size <= MAX_MEMBER_BYTES:
                    raise tarfile.ReadError(f'{member.name[:100]} claims {member.size:,} bytes, or holes')
                yield dict(fname=member.name, data=tar.extractfile(member).read(), __url__=url)
            tar.members = []  # it would keep all of them
    yield {}


def read_tar(url: str, shard: Shard, places: list[int]) -> Iterator[tuple[int, dict]]:
    """Samples at ascending places of a tar file: the members of each by their suffix, and the key.

    Raises:
        OSError, tarfile.TarError: it cannot be read, or ends before the last place.
    """
    wanted, place, last, ended = set(places), -1, None, False

    def noting_end(files: Iterator[dict]) -> Iterator[dict]:
        nonlocal ended
        for file in files:
            ended = file == {}  # webdataset's mark
            yield file

    def select(name: str) -> bool:
        nonlocal place, last
        key, _ = base_plus_ext(name)
        if key is not None and key != last:
            place, last = place + 1, key
        return key is not None and place in wanted

    stream = open_file(url)
    try:
        samples = group_by_keys(noting_end(members_of(url, stream, select)))
        for number in places:
            sample = next(samples, None)
            if sample is None:
                raise OSError(f'it ends after {place + 1} samples, {shard.samples} were expected')
            # A connection may break off between the members of a sample.
            if ended and not ('cls' in sample and images_in(sample)):
                raise OSError(f'it ends inside of {sample["__key__"]}')
            yield number, sample
    except (RecursionError, ValueError) as error:  # names of names of names, a name given twice
        reason = error if isinstance(error, ValueError) else 'names of names'
        raise tarfile.ReadError(f'its headers are broken: {reason!s:.200}') from error
    finally:
        # What was not wanted to the end may complain of that.
        set_options(stream, ignore_errors=True)
        stream.close()
