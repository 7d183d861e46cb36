"""Check that a pickle contains plain data, by interpreting it without calls before torch unpickles it.

torch's ``weights_only`` prevents arbitrary calls. It does not prevent a file of 700 bytes from allocating
all memory: with views of one number, nested lists, or calls that copy memoized values. Here, every opcode
that torch supports is interpreted with the stand-ins of ``pickled_values``, and the memory that the pickle
would allocate is compared with the size of the file.
"""

import pickle
import struct
from collections import OrderedDict
from mmap import mmap

from .pickled_values import (
    MAX_NAME_LENGTH,
    Global,
    Instance,
    Leaf,
    NumpyDtype,
    RefusedError,
    Storage,
    call,
    check,
    check_key,
    find_global,
    give_state,
    new_object,
    storage_of,
)

MAX_OPCODES = 1_000_000
MAX_DEPTH = 64
MAX_INT_BYTES = 17  # 128 bits and the sign: the state of a random generator
# A value with n references counts n times, because printing or copying it visits it n times.
MAX_VALUES = 1_000_000
MAX_COPIES = 4  # ratio of referenced to stored bytes; weights and their average may share storages
SMALL = 2**22  # bytes that are always allowed


class PickleReader:
    """Interpret one pickle.

    Args:
        data: bytes with the pickle.
        position: start of the pickle.

    Attributes:
        position: end of the pickle, after ``read``.
        storages: storages by key.
    """

    def __init__(self, data: bytes | mmap, position: int = 0):
        self.data, self.position, self.start = data, position, position
        self.storages: dict[str, Storage] = {}
        self.memo, self.stack, self.marked = {}, [], []
        self.copied = 0  # bytes that calls copy

    def read(self) -> object:
        """Return the pickled value as stand-ins.

        Raises:
            RefusedError: the pickle contains more than data, or needs too much memory for its size.
            Exception: the pickle is truncated or damaged.
        """
        self.start, opcodes = self.position, OPCODES
        for _ in range(MAX_OPCODES):
            opcode = self.data[self.position]
            self.position += 1
            if opcode == STOP:
                value = self.stack.pop()
                self.measure(value, self.position - self.start)
                return value
            opcodes[opcode](self)
        raise RefusedError(f'its pickle has more than {MAX_OPCODES:,} opcodes')

    def measure(self, value: object, size: int) -> None:
        """Compare the memory of the value, counted without sharing, with the size of the data."""
        count, nbytes, _ = extent(value, {}, 0)
        check(count <= max(MAX_VALUES, size), f'its values contain {count:,} references to each other')
        real = sum(storage.nbytes for storage in self.storages.values()) + size
        check(
            nbytes <= MAX_COPIES * real + SMALL,
            f'its tensors and strings have {nbytes:,} bytes, but only {real:,} are stored',
        )

    def count_copied(self, nbytes: int) -> None:
        """Check the memory of a copy before torch makes it."""
        self.copied += nbytes
        size = self.position - self.start
        check(
            self.copied <= MAX_COPIES * size + SMALL,
            f'its {size:,} bytes would make copies of {self.copied:,} bytes',
        )

    def take(self, size: int) -> bytes:
        taken = self.data[self.position : self.position + size]
        if len(taken) != size:
            raise EOFError('the file ends within a value')
        self.position += size
        return taken

    def number(self, layout: str, size: int) -> int | float:
        return struct.unpack(layout, self.take(size))[0]

    def line(self) -> str:
        end = self.data.find(b'\n', self.position, self.position + MAX_NAME_LENGTH)
        if end < 0:
            raise ValueError('a name is not terminated')
        return self.take(end + 1 - self.position)[:-1].decode()

    def text(self, size: int) -> None:
        self.stack.append(self.take(size).decode())

    def integer(self) -> None:
        size = self.number('<B', 1)
        check(size <= MAX_INT_BYTES, f'it contains an integer of {size} bytes')
        self.stack.append(int.from_bytes(self.take(size), 'little', signed=True))

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise ValueError('a tuple has too few values')
        items = tuple(self.stack[-size:])
        del self.stack[-size:]
        self.stack.append(items)

    def append(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError('a value is appended to an object that is not a list')
        self.stack[-1].extend(items)

    def set_items(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict) or len(items) % 2:
            raise ValueError('a value is added to an object that is not a dict')
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key)
            target[key] = value

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def find_global(self) -> None:
        self.stack.append(find_global(self.line(), self.line()))

    def new_object(self) -> None:
        arguments, target = self.stack.pop(), self.stack.pop()
        self.stack.append(new_object(target, arguments))

    def call(self) -> None:
        arguments, target = self.stack.pop(), self.stack.pop()
        self.stack.append(call(self, target, arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        give_state(self, target, state)

    def load_storage(self) -> None:
        storage = storage_of(self.stack.pop())
        known = self.storages.setdefault(storage.key, storage)
        check(
            (known.item_size, known.numel) == (storage.item_size, storage.numel),
            f'it describes storage {storage.key} with two sizes',
        )
        self.stack.append(known)


def extent(value: object, memo: dict[int, tuple[int, int, int]], depth: int) -> tuple[int, int, int]:
    """Return the number of values, the bytes of tensors and strings, and the depth of a value.

    Shared values count once per reference.
    """
    kind = type(value)
    if kind is str:
        return 1, len(value), 0
    if kind in (int, float, bool, type(None)):
        return 1, 0, 0
    if kind is Leaf:
        return 1, value.nbytes, 0
    if kind in (Global, Storage, NumpyDtype):
        check(kind is NumpyDtype, 'it contains a class or a bare storage as a value')
        return 1, 0, 0
    if id(value) in memo:
        found = memo[id(value)]
        check(depth + found[2] <= MAX_DEPTH, f'its values are nested more than {MAX_DEPTH} levels deep')
        return found
    check(depth < MAX_DEPTH, f'its values are nested more than {MAX_DEPTH} levels deep')
    if kind is Instance:
        parts = [value.attributes]
    elif kind in (dict, OrderedDict):
        parts = [*value, *value.values(), *getattr(value, '__dict__', {}).values()]
    else:
        parts = value  # a list or tuple
    count, nbytes, height = 1, 0, 0
    for part in parts:
        more = extent(part, memo, depth + 1)
        count, nbytes, height = count + more[0], nbytes + more[1], max(height, more[2])
    memo[id(value)] = count, nbytes, height + 1
    return memo[id(value)]


def unsupported(reader: PickleReader) -> None:
    raise ValueError('its pickle contains an opcode that torch.save does not write')


STOP = pickle.STOP[0]
STEPS = {
    pickle.PROTO: lambda r: r.take(1),
    pickle.BINPUT: lambda r: r.put(r.take(1)[0]),
    pickle.LONG_BINPUT: lambda r: r.put(r.number('<I', 4)),
    pickle.BINGET: lambda r: r.get(r.take(1)[0]),
    pickle.LONG_BINGET: lambda r: r.get(r.number('<I', 4)),
    pickle.BINUNICODE: lambda r: r.text(r.number('<I', 4)),
    pickle.SHORT_BINSTRING: lambda r: r.text(r.number('<B', 1)),
    pickle.BININT: lambda r: r.stack.append(r.number('<i', 4)),
    pickle.BININT1: lambda r: r.stack.append(r.take(1)[0]),
    pickle.BININT2: lambda r: r.stack.append(r.number('<H', 2)),
    pickle.LONG1: PickleReader.integer,
    pickle.BINFLOAT: lambda r: r.stack.append(r.number('>d', 8)),
    pickle.NONE: lambda r: r.stack.append(None),
    pickle.NEWTRUE: lambda r: r.stack.append(True),
    pickle.NEWFALSE: lambda r: r.stack.append(False),
    pickle.EMPTY_LIST: lambda r: r.stack.append([]),
    pickle.EMPTY_DICT: lambda r: r.stack.append({}),
    pickle.EMPTY_TUPLE: lambda r: r.stack.append(()),
    pickle.MARK: PickleReader.mark,
    pickle.TUPLE: lambda r: (items := tuple(r.since_mark()), r.stack.append(items)),
    pickle.TUPLE1: lambda r: r.tuple(1),
    pickle.TUPLE2: lambda r: r.tuple(2),
    pickle.TUPLE3: lambda r: r.tuple(3),
    pickle.APPEND: lambda r: r.append([r.stack.pop()]),
    pickle.APPENDS: lambda r: r.append(r.since_mark()),
    pickle.SETITEM: PickleReader.set_item,
    pickle.SETITEMS: lambda r: r.set_items(r.since_mark()),
    pickle.GLOBAL: PickleReader.find_global,
    pickle.NEWOBJ: PickleReader.new_object,
    pickle.REDUCE: PickleReader.call,
    pickle.BUILD: PickleReader.build,
    pickle.BINPERSID: PickleReader.load_storage,
}
OPCODES = [STEPS.get(bytes([code]), unsupported) for code in range(256)]
