"""Read the samples of a tar file."""

import re
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from webdataset.gopen import set_options
from webdataset.tariterators import base_plus_ext, group_by_keys

from .shard_index import Shard, open_file
from .walking import IMAGE_SUFFIXES

# Names of the members of a sample.
SUFFIXES = tuple(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
# Types of headers that contain the name of the following file.
NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
MAX_NAME_BYTES = 1 << 16
MAX_MEMBER_BYTES = 1 << 30
META = re.compile('__[^/]*__($|/)')  # webdataset uses this key for other data


def images_in(sample: dict) -> list[str]:
    """Return the suffixes of the images in a sample."""
    return [suffix for suffix in sample if suffix in SUFFIXES]


class Member(tarfile.TarInfo):
    """A header of a tar file, whose sizes must be plausible for an image, a label and a name."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> 'Member':
        member = super().frombuf(buf, encoding, errors)
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f'{member.name[:100]} is a sparse file')
        if member.type in NAMES and member.size > MAX_NAME_BYTES:
            raise tarfile.ReadError(f'it has a name of {member.size:,} bytes')
        return member


def members_of(url: str, stream: BinaryIO, wanted: Callable[[str], bool]) -> Iterator[dict]:
    """Yield names and contents of the files in a tar file for webdataset's ``group_by_keys``.

    The last one is empty. The file is closed even if reading ends early.

    Raises:
        OSError, tarfile.TarError: the file cannot be read, or has members that shards do not have.
    """
    with tarfile.open(fileobj=stream, mode='r|', tarinfo=Member) as tar:
        for member in tar:
            if member.isreg() and not META.match(member.name) and wanted(member.name):
                if member.issparse() or not 0 <= member.size <= MAX_MEMBER_BYTES:
                    raise tarfile.ReadError(f'{member.name[:100]} claims {member.size:,} bytes, or holes')
                yield dict(fname=member.name, data=tar.extractfile(member).read(), __url__=url)
            tar.members = []  # tarfile would keep all members in memory
    yield {}


def read_tar(url: str, shard: Shard, places: list[int]) -> Iterator[tuple[int, dict]]:
    """Yield samples at ascending positions of a tar file: members by suffix, and the key.

    Raises:
        OSError, tarfile.TarError: the file cannot be read, or ends before the last position.
    """
    wanted, place, last, ended = set(places), -1, None, False

    def noting_end(files: Iterator[dict]) -> Iterator[dict]:
        nonlocal ended
        for file in files:
            ended = file == {}  # marker of webdataset
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
            # A connection may break between the members of a sample.
            if ended and not ('cls' in sample and images_in(sample)):
                raise OSError(f'it ends inside of {sample["__key__"]}')
            yield number, sample
    except (RecursionError, ValueError) as error:  # nested long names, or repeated names
        reason = error if isinstance(error, ValueError) else 'names of names'
        raise tarfile.ReadError(f'its headers are broken: {reason!s:.200}') from error
    finally:
        # Closing an unfinished read may raise errors.
        set_options(stream, ignore_errors=True)
        stream.close()
