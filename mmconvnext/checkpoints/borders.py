"""Check the containers of weights before torch or safetensors opens them."""

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from ..files import open_regular
from .descriptions import parse_json
from .pickles import MAX_NAME_LENGTH, PickleReader, check, is_int

ZIP_START = b'PK\x03\x04'  # by which torch tells its two formats
LOCAL_HEADER = struct.Struct('<4s22xHH')  # the lengths of the name and the extra field
END = struct.Struct('<4s8xIIH')  # size and offset of the directory, length of the comment
LOCATOR = struct.Struct('<4s4xQ4x')  # offset of END64
END64 = struct.Struct('<4s36xQQ')
MAX_DIRECTORY = 2**24  # bytes: 100,000 tensors

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before torch 1.6

MAX_HEADER = 2**24  # bytes
MAX_METADATA = 2**20  # characters


@contextmanager
def mapped(file: Path) -> Iterator[mmap]:
    """The bytes of a regular file, of which only those that are looked at are read."""
    with open_regular(file) as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        yield data


def check_torch(file: Path) -> None:
    """Raise unless torch.load would get plain data in proportion to the file.

    Raises:
        RefusedError: the file asks for more than data.
        Exception: it is truncated or no file of torch's.
    """
    with mapped(file) as data:
        (check_zip if data[:4] == ZIP_START else check_legacy)(data, file)


def check_zip(data: mmap, file: Path) -> None:
    check_directory(data)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    prefix = entries[0].filename.partition('/')[0] + '/'
    places, end = {}, 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        name = entry.filename
        check(entry.compress_type == zipfile.ZIP_STORED, f'{name[:MAX_NAME_LENGTH]} in it is compressed')
        # torch and zipfile find a name by other rules; here both find the same.
        check(name == entry.orig_filename and name.startswith(prefix), 'its entries have odd names')
        name = name.removeprefix(prefix).lower()
        check(name not in places, f'it has {name[:MAX_NAME_LENGTH]} twice')
        check(entry.header_offset >= end and entry.compress_size == entry.file_size, 'its entries overlap')
        signature, name_size, extra_size = LOCAL_HEADER.unpack_from(data, entry.header_offset)
        start = entry.header_offset + LOCAL_HEADER.size + name_size + extra_size
        end = start + entry.file_size
        if signature != ZIP_START or end > len(data):
            raise ValueError('an entry reaches beyond the end of the file')
        places[name] = start, end
    reader = PickleReader(data[slice(*places['data.pkl'])])
    reader.read()
    for key, storage in reader.storages.items():
        start, end = places[f'data/{key}'.lower()]
        check(
            storage.nbytes == end - start,
            f'its storage {key[:MAX_NAME_LENGTH]} claims {storage.nbytes:,} bytes and has {end - start:,}',
        )


def check_directory(data: mmap) -> None:
    """Raise unless every reader finds the same directory in a zip file, and one of bounded size."""
    end = len(data) - END.size
    signature, size, offset, comment = END.unpack_from(data, end)
    if signature != b'PK\x05\x06' or comment:
        raise ValueError('the end of the file is missing')
    if data[end - LOCATOR.size : end - LOCATOR.size + 4] == b'PK\x06\x07':
        _, end64 = LOCATOR.unpack_from(data, end - LOCATOR.size)
        end -= LOCATOR.size + END64.size
        signature, size64, offset64 = END64.unpack_from(data, end)
        agreed = size in (size64, 2**32 - 1) and offset in (offset64, 2**32 - 1)
        check(signature == b'PK\x06\x06' and end == end64 and agreed, 'it has two different directories')
        size, offset = size64, offset64
    check(size <= MAX_DIRECTORY, f'its directory has {size:,} bytes')
    if offset + size != end:
        raise ValueError('its directory is not where the end of the file says')


def check_legacy(data: mmap, file: Path) -> None:
    """One pickle after the other, then the numbers of the storages in the order of the last pickle."""
    position, values, storages = 0, [], {}
    for _ in range(5):  # magic number, protocol, the machine, the content, keys of the storages
        reader = PickleReader(data, position)
        values.append(reader.read())
        position = reader.position
        storages = storages or reader.storages
        if values[0] != MAGIC_NUMBER or values[1:2] not in ([], [PROTOCOL]):
            raise ValueError('it is of none of the formats of torch.save')
    keys = values[4]
    check(
        type(keys) is list and all(type(key) is str for key in keys) and sorted(keys) == sorted(storages),
        'its list of storages is another one than its content has',
    )
    for key in keys:
        (numel,) = struct.unpack_from('<q', data, position)
        storage = storages[key]
        check(numel == storage.numel, f'its storage {key[:MAX_NAME_LENGTH]} has two sizes')
        position += 8 + storage.nbytes
        if position > len(data):
            raise EOFError('a storage reaches beyond the end of the file')


def check_safetensors(file: Path) -> None:
    """Raise unless the header is small and flat; safetensors itself compares it with the bytes behind it.

    Raises:
        RefusedError: the header asks for more than names of tensors.
        Exception: it is truncated or none.
    """
    with mapped(file) as data:
        (size,) = struct.unpack_from('<Q', data)
        if size > len(data) - 8:
            raise EOFError(f'its header claims {size:,} bytes')
        check(size <= MAX_HEADER, f'its header has {size:,} bytes')
        header = parse_json(data[8 : 8 + size].decode(), object_pairs_hook=unique)
    check(type(header) is dict, 'its header is no dict of tensors')
    metadata = header.pop('__metadata__', {})
    check(
        type(metadata) is dict and all(type(value) is str for value in metadata.values()),
        'its metadata is no dict of texts',
    )
    check(
        sum(map(len, metadata.values())) <= MAX_METADATA, f'its metadata has over {MAX_METADATA:,} characters'
    )
    for name, described in header.items():
        check(len(name) <= MAX_NAME_LENGTH, f'a name in it has {len(name):,} characters')
        shape = described.get('shape') if type(described) is dict else None
        good = type(shape) is list and len(shape) <= 16 and all(is_int(side) for side in shape)
        check(good, f'{name} in it has an odd shape')


def unique(pairs: list[tuple]) -> dict:
    made = dict(pairs)
    check(len(made) == len(pairs), 'a name is in it twice')
    return made
