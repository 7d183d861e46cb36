"""Read checkpoints as data, without running code in them."""

import struct
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from warnings import warn

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import load_file

from ..errors import UserError
from ..files import check_regular, open_regular
from ..text import parse_json
from .contents import MAX_HEADER
from .downloading import fetch
from .pickled_values import MAX_NAME_LENGTH, PLAIN_NUMBERS, RefusedError, check, is_int
from .pickles import PickleReader
from .tensorflow import read_h5

ZIP_START = b'PK\x03\x04'  # by which torch tells its two formats
LOCAL_HEADER = struct.Struct('<4s22xHH')  # the lengths of the name and the extra field
END = struct.Struct('<4s8xIIH')  # size and offset of the directory, length of the comment
LOCATOR = struct.Struct('<4s4xQ4x')  # offset of END64
END64 = struct.Struct('<4s36xQQ')
MAX_DIRECTORY = 2**24  # bytes: 100,000 tensors

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before torch 1.6

MAX_METADATA = 2**20  # characters


def history_method(owner: type, name: str):
    """Replace getattr, with which a pickled HistoryBuffer refers to its own statistics."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise ValueError(f'{owner} has no statistics {name!r}')
    return getattr(owner, name)


# What is written beside tensors: mmengine's loss history, which holds numpy arrays. numpy 1 pickles
# the two functions under numpy.core, numpy 2 under numpy._core; either file must load with either.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
SAFE_GLOBALS = [
    HistoryBuffer,
    Namespace,  # the arguments of a run, in checkpoints of the official code
    (history_method, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in PLAIN_NUMBERS},
    *((_RECONSTRUCT, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_SCALAR, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


def load_checkpoint(
    source: str | Path,
    map_location: str | torch.device | None = 'cpu',
    *,
    mmap: bool = False,
    trust: bool = False,
) -> dict:
    """Load a file of torch, safetensors or Keras, or from a URL.

    Args:
        source: file or URL, see ``fetch``.
        map_location: device of the tensors, as in ``torch.load``.
        mmap: whether to read tensors from disk only when they are used.
        trust: whether to unpickle the file even if that runs code in it.

    Returns:
        The object that was saved by ``torch.save``, or name -> tensor for the other formats.

    Raises:
        UserError: the file is missing, truncated, not a checkpoint, or contains more than data.
    """
    file = fetch(source)
    if file.is_dir():
        raise UserError(f'checkpoint {file} is a folder; name a file in it')
    if not file.exists():
        raise UserError(f'checkpoint {file} does not exist; check the path')
    check_regular(file)
    found = f'{file} ({file.stat().st_size:,} bytes)'
    try:
        checkpoint = _load(file, map_location, mmap=mmap, trust=trust)
    except UserError:
        raise
    except RefusedError as error:
        raise UserError(
            f'{found} was not loaded: {error}. A checkpoint should only contain tensors and plain values; '
            'save it again with only those. If you trust its author, --trust-checkpoint loads it and runs '
            'its code with your permissions.'
        ) from error
    except Exception as error:  # whatever the libraries raise over a damaged file, MemoryError included
        raise UserError(_not_a_checkpoint(found, error)) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{found} holds a {type(checkpoint).__name__}; a checkpoint is a dict of weights')
    # mmengine executes this config text when it resumes; it reads nothing from it but gpu_ids.
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)
    return checkpoint


def _load(file: Path, map_location, *, mmap: bool, trust: bool):
    if file.suffix == '.h5':
        return read_h5(file)
    if file.suffix == '.safetensors':
        check_safetensors(file)
        return load_file(file, device=str(map_location or 'cpu'))
    with file.open('rb') as stream:
        mmap = mmap and stream.read(4) == ZIP_START
    if trust:
        warn(f'{file} is trusted: code in it runs now, with your permissions', stacklevel=4)
        return torch.load(file, map_location=map_location, weights_only=False, mmap=mmap)
    check_torch(file)
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        return torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)


def _not_a_checkpoint(found: str, error: Exception) -> str:
    reason = (str(error).splitlines() or [''])[0].split('. ')[0]
    # Some errors only consist of an unexpected byte.
    reason = f' ({reason})' if ' ' in reason else ''
    return (
        f'{found} is truncated or not a checkpoint{reason}; copy or download it again, or name another file'
    )


@contextmanager
def mapped(file: Path) -> Iterator[mmap]:
    """Map a regular file into memory, so that only used bytes are read."""
    with open_regular(file) as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        yield data


def check_torch(file: Path) -> None:
    """Raise unless torch.load would return plain data in proportion to the size of the file.

    Raises:
        RefusedError: the file contains more than data.
        Exception: the file is truncated or not in a format of torch.
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
        check(entry.compress_type == zipfile.ZIP_STORED, f'its entry {name[:MAX_NAME_LENGTH]} is compressed')
        # torch and zipfile look up names by different rules; these checks make both find the same entry.
        check(name == entry.orig_filename and name.startswith(prefix), 'its entries have invalid names')
        name = name.removeprefix(prefix).lower()
        check(name not in places, f'it contains {name[:MAX_NAME_LENGTH]} twice')
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
            f'its storage {key[:MAX_NAME_LENGTH]} should have {storage.nbytes:,} bytes, not {end - start:,}',
        )


def check_directory(data: mmap) -> None:
    """Raise unless all readers find the same directory of limited size in a zip file."""
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
    """Check the format before torch 1.6: pickles, then storages in the order of the last pickle."""
    position, values, storages = 0, [], {}
    for _ in range(5):  # magic number, protocol, the machine, the content, keys of the storages
        reader = PickleReader(data, position)
        values.append(reader.read())
        position = reader.position
        storages = storages or reader.storages
        if values[0] != MAGIC_NUMBER or values[1:2] not in ([], [PROTOCOL]):
            raise ValueError('it is in no format of torch.save')
    keys = values[4]
    check(
        type(keys) is list and all(type(key) is str for key in keys) and sorted(keys) == sorted(storages),
        'its list of storages does not match its content',
    )
    for key in keys:
        (numel,) = struct.unpack_from('<q', data, position)
        storage = storages[key]
        check(numel == storage.numel, f'it describes storage {key[:MAX_NAME_LENGTH]} with two sizes')
        position += 8 + storage.nbytes
        if position > len(data):
            raise EOFError('a storage reaches beyond the end of the file')


def check_safetensors(file: Path) -> None:
    """Raise unless the header is small and flat; safetensors itself compares it with the data.

    Raises:
        RefusedError: the header contains more than names of tensors.
        Exception: the header is truncated or invalid.
    """
    with mapped(file) as data:
        (size,) = struct.unpack_from('<Q', data)
        if size > len(data) - 8:
            raise EOFError(f'its header should have {size:,} bytes')
        check(size <= MAX_HEADER, f'its header has {size:,} bytes')
        header = parse_json(data[8 : 8 + size].decode(), object_pairs_hook=unique)
    check(type(header) is dict, 'its header is not a dict of tensors')
    metadata = header.pop('__metadata__', {})
    check(
        type(metadata) is dict and all(type(value) is str for value in metadata.values()),
        'its metadata is not a dict of strings',
    )
    check(
        sum(map(len, metadata.values())) <= MAX_METADATA,
        f'its metadata has more than {MAX_METADATA:,} characters',
    )
    for name, described in header.items():
        check(len(name) <= MAX_NAME_LENGTH, f'it contains a name of {len(name):,} characters')
        shape = described.get('shape') if type(described) is dict else None
        good = type(shape) is list and len(shape) <= 16 and all(is_int(side) for side in shape)
        check(good, f'its tensor {name} has an invalid shape')


def unique(pairs: list[tuple]) -> dict:
    made = dict(pairs)
    check(len(made) == len(pairs), 'it contains a name twice')
    return made
