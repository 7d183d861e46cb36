"""Check the content of downloaded files, because servers also send login pages, errors and partial files."""

import zipfile
from pathlib import Path

from ..errors import UserError
from ..files import open_regular
from ..text import parse_json
from .descriptions import MAX_JSON_BYTES

HEAD = 16  # bytes that tell what a file is
MAX_HEADER = 2**24  # bytes of safetensors' description of its tensors
ZIP, PICKLE, HDF5 = b'PK\x03\x04', b'\x80', b'\x89HDF\r\n\x1a\n'
BROKEN = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


def check_head(name: str, head: bytes) -> None:
    """Raise UserError unless a file can start with these bytes.

    Args:
        name: file name; ``.json`` must contain JSON, all others a checkpoint.
        head: first bytes of the file, at least ``HEAD`` if it is long enough.

    Raises:
        UserError: what was found, as the end of a sentence.
    """
    if name.endswith('.json'):
        good = head.lstrip().startswith((b'{', b'['))
    else:
        good = head.startswith((ZIP, PICKLE, HDF5)) or is_safetensors(head)
    if not good:
        expected = 'JSON' if name.endswith('.json') else 'a checkpoint'
        raise UserError(f'{kind_of(head)} in place of {expected}')


def check_contents(name: str, file: Path) -> None:
    """Raise UserError unless start and end of a file are valid.

    Raises:
        UserError: what was found, as the end of a sentence.
    """
    size = file.stat().st_size
    with open_regular(file) as stream:
        head = stream.read(HEAD)
        check_head(name, head)
        try:
            if name.endswith('.json'):
                parse_json((head + stream.read(MAX_JSON_BYTES)).decode('utf-8-sig'))
                whole = True
            elif head.startswith(ZIP):
                whole = zipfile.is_zipfile(stream)  # finds the list of its members at the end
            elif is_safetensors(head):
                begin = 8 + header_length(head)
                header = parse_json((head[8:begin] + stream.read(max(0, begin - HEAD))).decode())
                tensors = [entry for key, entry in header.items() if key != '__metadata__']
                whole = size == begin + max((entry['data_offsets'][1] for entry in tensors), default=0)
            else:
                whole = True
        except BROKEN:
            whole = False
    if not whole:
        raise UserError('a part of a file, or a broken one')


def header_length(head: bytes) -> int:
    return int.from_bytes(head[:8], 'little')


def is_safetensors(head: bytes) -> bool:
    return head[8:9] == b'{' and header_length(head) <= MAX_HEADER


def kind_of(head: bytes) -> str:
    if not head:
        return 'nothing'
    if head.lstrip().startswith(b'<'):
        return 'a page of HTML or XML, as for a login or an error,'
    if head.startswith(b'\x1f\x8b'):
        return 'data compressed with gzip'
    return f'data that begin with {head[:HEAD]!r}'
