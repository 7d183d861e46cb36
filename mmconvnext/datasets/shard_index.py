"""Read the index of a folder or URL of shards: index.json and one file per shard."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from webdataset.gopen import gopen, set_options

from ..errors import UserError
from ..files import open_regular

INDEX, UNFINISHED = 'index.json', 'unfinished.json'
MAX_INDEX_BYTES = 16 << 20  # the index of 14 million images has 1 MB
MAX_SHARD_BYTES = 10**13
# Headers and data of a tar file fill blocks of 512 bytes: an image has at least two, its label two.
MIN_SAMPLE_BYTES = 4 * 512
# Names become part of paths and URLs, and the index may be untrusted.
PLAIN_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')
# webdataset passes these to curl or gsutil unchecked, and would run a command after ``pipe:``.
URL = re.compile(r'(https?|gs|hf)://[A-Za-z0-9._~:/@%+=,-]+')
SCHEME = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+:')  # a single letter is a drive of Windows


@dataclass(frozen=True)
class Shard:
    """A tar file.

    Attributes:
        name: file name.
        samples: number of samples.
        size: size in bytes.
    """

    name: str
    samples: int
    size: int


@dataclass(frozen=True)
class ShardIndex:
    """The content of ``index.json``.

    Attributes:
        images: hash of the names and sizes of the images in the shards.
        classes: class names in the order of the labels.
        shards: shards in the order in which samples are numbered.
    """

    images: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def is_url(root: str) -> bool:
    return URL.fullmatch(root) is not None


def url_of(root: str, name: str) -> str:
    """Return the URL of a file for webdataset; see ``Shards`` for the root."""
    if is_url(root):
        return f'{root.rstrip("/")}/{name}'
    return str(Path(root).expanduser().absolute() / name)


def open_file(place: str) -> BinaryIO:
    """Open a URL of ``url_of``; local files must be regular files."""
    return gopen(place) if is_url(place) else open_regular(place)


def read_index(root: str) -> ShardIndex:
    """Read and check the index of a root.

    Raises:
        UserError: the index cannot be read or is invalid, or a shard in a folder is missing or incomplete.
    """
    check_root(root)
    place = url_of(root, INDEX)
    try:
        with open_file(place) as stream:
            text = stream.read(MAX_INDEX_BYTES + 1)
            if len(text) > MAX_INDEX_BYTES:
                set_options(stream, ignore_errors=True)  # a command complains about unread output
    except OSError as error:
        if not is_url(root) and Path(root, UNFINISHED).expanduser().is_file():
            raise UserError(
                f'{root} holds shards that are not complete; start tools/make_shards.py again to continue'
            ) from error
        raise UserError(
            f'{place} cannot be read: {error}. Make shards with tools/make_shards.py, or correct data_root'
        ) from error
    try:
        if len(text) > MAX_INDEX_BYTES:
            raise ValueError(f'it has more than {MAX_INDEX_BYTES:,} bytes')
        index = parse_index(json.loads(text))
    except (ValueError, RecursionError) as error:  # of json, too
        raise UserError(
            f'{place} is not an index of shards: {error}; make it with tools/make_shards.py'
        ) from error
    if not is_url(root):
        check_files(Path(root).expanduser(), index)
    return index


def check_root(root: str) -> None:
    """Raise UserError unless the root is a folder or a plain URL."""
    if SCHEME.match(root) and not is_url(root):
        raise UserError(
            f'data_root {root!r:.200} is neither a folder nor a plain URL; expected https://HOST/PATH, '
            'gs://BUCKET/PATH or hf://datasets/OWNER/NAME/PATH. A command is not run: mount other storage as '
            'a folder, or serve it over HTTPS'
        )


def parse_index(found) -> ShardIndex:
    """Parse the index; raise ValueError with what was found and what was expected."""
    images = expect(found, 'images', lambda v: isinstance(v, str), 'a text')
    classes = expect(
        found,
        'classes',
        lambda v: isinstance(v, list) and all(isinstance(c, str) for c in v),
        'a list of names',
    )
    shards = []
    listed = expect(found, 'shards', lambda v: isinstance(v, list) and v, 'a list of at least one shard')
    for i, entry in enumerate(listed):
        try:
            name = expect(
                entry, 'name', lambda v: isinstance(v, str) and PLAIN_NAME.fullmatch(v), 'a plain file name'
            )
            size = expect(
                entry, 'size', lambda v: is_count(v, MAX_SHARD_BYTES), 'a whole number above 0, in bytes'
            )
            most = size // MIN_SAMPLE_BYTES
            samples = expect(
                entry,
                'samples',
                lambda v, most=most: is_count(v, most),
                f'a whole number above 0, and at most {most:,} in {size:,} bytes',
            )
        except ValueError as error:
            raise ValueError(f'in shards[{i}], {error}') from error
        shards.append(Shard(name, samples, size))
    twice = [name for name, count in Counter(shard.name for shard in shards).items() if count > 1]
    if twice:
        raise ValueError(f'{twice[0]} is listed twice')
    return ShardIndex(images, tuple(classes), tuple(shards))


def expect(found, key: str, is_right: Callable, expected: str):
    if not isinstance(found, dict) or key not in found:
        raise ValueError(f'{key!r} is missing')
    if not is_right(found[key]):
        raise ValueError(f'{key!r} is {shortened(found[key])}, and should be {expected}')
    return found[key]


def shortened(value) -> str:
    try:
        return f'{value!r:.60}'
    except (ValueError, RecursionError):  # numbers with too many digits, deeply nested lists
        return f'a {type(value).__name__}'


def is_count(value, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def check_files(folder: Path, index: ShardIndex) -> None:
    for shard in index.shards:
        file = folder / shard.name
        size = file.stat().st_size if file.is_file() else None
        if size != shard.size:
            found = 'is missing' if size is None else f'has {size:,} bytes'
            raise UserError(
                f'{file} {found}, but {INDEX} lists it with {shard.size:,} bytes; copy it again, '
                'or make the shards again'
            )
