"""The values that a pickle may contain, and the functions that it may call to create them.

Anything that ``torch.save`` does not write for weights, plain values and mmengine's history is refused. What
a pickle makes is a stand-in here: the size of a tensor or an array, without its numbers.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch

MAX_NAME_LENGTH = 1000
MAX_DIMENSIONS = 16
MAX_SIDE = 2**40

# Storages that torch.save names, by the dtype of their numbers.
STORAGES = {
    'Double': torch.float64,
    'Float': torch.float32,
    'Half': torch.float16,
    'BFloat16': torch.bfloat16,
    'Long': torch.int64,
    'Int': torch.int32,
    'Short': torch.int16,
    'Char': torch.int8,
    'Byte': torch.uint8,
    'Bool': torch.bool,
    'ComplexFloat': torch.complex64,
    'ComplexDouble': torch.complex128,
}
ITEM_SIZES = {f'torch.{name}Storage': dtype.itemsize for name, dtype in STORAGES.items()}
ITEM_SIZES['torch.storage.UntypedStorage'] = 1
DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
# Codes by which numpy pickles its plain numbers.
PLAIN_NUMBERS = ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'c8', 'c16')
HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
NAMESPACE = 'argparse.Namespace'
HISTORY_METHODS = ('min', 'max', 'mean', 'current')


class RefusedError(Exception):
    """A valid pickle that requests more than data; the message says what."""


class ForeignCallError(RefusedError):
    def __init__(self, name: str):
        super().__init__(f'it wants to call {name[:MAX_NAME_LENGTH]}, which can run foreign code')


@dataclass(slots=True, eq=False)
class Global:
    name: str


@dataclass(slots=True, eq=False)
class Storage:
    key: str
    item_size: int
    numel: int

    @property
    def nbytes(self) -> int:
        return self.item_size * self.numel


@dataclass(slots=True, eq=False)
class Leaf:
    """A value without parts: a tensor, an array, a scalar, bytes.

    Attributes:
        kind: what it is.
        nbytes: the memory it takes beyond that of a number.
    """

    kind: str
    nbytes: int = 0


@dataclass(slots=True, eq=False)
class NumpyDtype:
    item_size: int


@dataclass(slots=True, eq=False)
class Instance:
    name: str
    attributes: dict = field(default_factory=dict)


def check(condition: bool, reason: str) -> None:
    if not condition:
        raise RefusedError(reason)


def is_int(value: object, low: int = 0, high: int = MAX_SIDE) -> bool:
    return type(value) is int and low <= value <= high


def find_global(module: str, name: str) -> Global | Leaf:
    """Return the stand-in for a class or function named in a pickle."""
    module = {'__builtin__': 'builtins'}.get(module, module)  # as Python 2 calls it
    path = f'{module}.{name}'
    if path in DTYPES:
        return Leaf('torch.dtype')
    if path in CALLS or path in ITEM_SIZES or path in (HISTORY, NAMESPACE, 'numpy.ndarray'):
        return Global(path)
    raise ForeignCallError(path.removeprefix('builtins.'))


def new_object(target: object, arguments: object) -> Instance:
    if type(target) is not Global:
        raise ValueError('an object of what is no class')
    if target.name not in (HISTORY, NAMESPACE) or arguments != ():
        raise ForeignCallError(target.name)
    return Instance(target.name)


def call(reader, target: object, arguments: object) -> object:
    """Return the stand-in for the result of a call."""
    if type(target) is not Global or type(arguments) is not tuple:
        raise ValueError('a call of what is no function')
    if target.name not in CALLS:
        raise ForeignCallError(target.name)
    try:
        return CALLS[target.name](reader, *arguments)
    except TypeError as error:  # another number of arguments
        raise RefusedError(f'it calls {target.name} with other arguments than torch.save writes') from error


def give_state(reader, target: object, state: object) -> None:
    """Set the state of an object from a pickle."""
    if type(target) is Instance:
        check(type(state) is dict, f'the state of a {target.name} is no dict')
        (check_history if target.name == HISTORY else check_namespace)(state)
        target.attributes.update(state)
    elif type(target) is OrderedDict:
        # Modules keep their versions there.
        check(type(state) is dict and set(state) <= {'_metadata'}, 'a dict in it has attributes')
        target.__dict__.update(state)
    elif type(target) is NumpyDtype:
        plain = type(state) is tuple and len(state) == 8 and type(state[1]) is str and state[1] in '<>|='
        check(plain and is_plain_dtype(state), 'an array in it is not of plain numbers')
    elif type(target) is Leaf and target.kind == 'array':
        give_array_state(reader, target, state)
    else:
        raise ValueError('a state is given to what has none')


def give_array_state(reader, array: Leaf, state: object) -> None:
    check(type(state) is tuple and len(state) == 5, 'the state of an array is none of numpy')
    _, shape, dtype, fortran, content = state
    check(
        is_shape(shape) and type(dtype) is NumpyDtype and type(fortran) in (bool, int),
        'an array in it is not of plain numbers',
    )
    nbytes = prod(shape) * dtype.item_size
    check(
        type(content) is Leaf and content.kind == 'bytes' and content.nbytes == nbytes,
        f'an array in it claims {nbytes:,} bytes and has another number',
    )
    array.nbytes = nbytes
    reader.count_copied(nbytes)


def storage_of(identity: object) -> Storage:
    """Return the stand-in for a storage, from its description in a pickle."""
    # Old torch adds None, where there is no view.
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[5:] not in ((), (None,)):
        raise ValueError('a storage is described in another way than by torch.save')
    kind, storage_type, key, location, numel = identity[:5]
    if not (kind == 'storage' and type(key) is str and type(location) is str):
        raise ValueError('a storage is described in another way than by torch.save')
    check(
        type(storage_type) is Global and storage_type.name in ITEM_SIZES and is_int(numel),
        'a storage in it is not of plain numbers',
    )
    return Storage(key, ITEM_SIZES[storage_type.name], numel)


def check_key(key: object) -> None:
    # Long integers can be chosen so that all of them collide in a dict.
    short = type(key) is str and len(key) <= MAX_NAME_LENGTH
    check(
        short or is_int(key, -(2**31), 2**31) or type(key) is bool,
        'a key of a dict is no short name or number',
    )


def check_namespace(state: dict) -> None:
    for name in state:
        check(type(name) is str and not name.startswith('__'), f'an attribute of a {NAMESPACE} is no name')


def check_history(state: dict) -> None:
    methods = state.get('statistics_methods', {})
    arrays = [state.get(name) for name in ('_log_history', '_count_history')]
    check(
        set(state) == {'_log_history', '_count_history', 'max_length', 'statistics_methods'}
        and is_int(state['max_length'])
        and all(type(array) is Leaf and array.kind == 'array' for array in arrays)
        and type(methods) in (dict, OrderedDict)
        # All buffers of a process share this table, so no name may lead to another method.
        and all(type(method) is Leaf and method.kind == f'method {name}' for name, method in methods.items()),
        'a loss history in it is none of mmengine',
    )


def is_plain_dtype(state: tuple) -> bool:
    version, _, *rest = state
    numbers = [type(value) is int for value in rest[3:]]
    return is_int(version) and rest[:3] == [None] * 3 and all(numbers) and rest[3:] == [-1, -1, 0]


def is_shape(shape: object) -> bool:
    return type(shape) is tuple and len(shape) <= MAX_DIMENSIONS and all(is_int(side) for side in shape)


# What may be called, each with the arguments that torch and numpy write.


def tensor(reader, storage, offset, shape, stride, requires_grad=False, hooks=None, metadata=None):
    return strided(storage, offset, shape, stride, hooks, metadata)


def tensor_of_dtype(reader, storage, offset, shape, stride, requires_grad, hooks, dtype, metadata=None):
    check(type(dtype) is Leaf and dtype.kind == 'torch.dtype', 'a tensor in it has no dtype')
    check(type(storage) is Storage and storage.item_size == 1, 'a tensor in it is not of plain numbers')
    # Every dtype has at least a byte, so this is no less strict than torch, which checks the rest.
    return strided(storage, offset, shape, stride, hooks, metadata)


def strided(storage, offset, shape, stride, hooks, metadata) -> Leaf:
    check(
        type(storage) is Storage and is_int(offset) and is_shape(shape) and is_shape(stride),
        'a tensor in it is described in another way than by torch.save',
    )
    check(len(shape) == len(stride), f'a tensor in it has {len(shape)} sides and {len(stride)} strides')
    check(hooks is None or (type(hooks) is OrderedDict and not hooks), 'a tensor in it has hooks')
    check(metadata is None or metadata == {}, 'a tensor in it has attributes')
    numel = prod(shape)
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) if numel else -1
    check(last < storage.numel, f'a tensor in it reaches {last + 1:,} numbers into {storage.numel:,}')
    check(
        numel <= storage.numel,
        f'a tensor of shape {shape} in it repeats {storage.numel:,} numbers; save a contiguous copy of it',
    )
    return Leaf('tensor', numel * storage.item_size)


def parameter(reader, data, requires_grad, hooks):
    check(type(data) is Leaf and data.kind == 'tensor', 'a parameter in it is no tensor')
    check(type(hooks) is OrderedDict and not hooks, 'a tensor in it has hooks')
    return data


def ordered_dict(reader, pairs=()):
    check(type(pairs) in (list, tuple), 'a dict in it is made of no pairs')  # as Python 2 wrote them
    reader.count_copied(100 * len(pairs))
    made = OrderedDict()
    for pair in pairs:
        check(type(pair) in (list, tuple) and len(pair) == 2, 'a dict in it is made of no pairs')
        check_key(pair[0])
        made[pair[0]] = pair[1]
    return made


def counter(reader, counts=None):
    counts = {} if counts is None else counts
    check(type(counts) is dict and all(map(is_number, counts.values())), 'a Counter in it counts no numbers')
    reader.count_copied(100 * len(counts))
    return dict(counts)


def plain_set(reader, items):
    check(type(items) is list, 'a set in it is made of no list')
    for item in items:
        check_key(item)
    reader.count_copied(100 * len(items))
    return list(items)


def is_number(value: object) -> bool:
    return type(value) in (int, float, bool)


def complex_number(reader, real, imaginary):
    check(is_number(real) and is_number(imaginary), 'a complex number in it is none')
    return Leaf('complex')


def size(reader, shape):
    check(is_shape(shape), 'a torch.Size in it is no shape')
    return shape


def device(reader, name, index=0):
    check(type(name) is str and len(name) < 20 and is_int(index, 0, 127), 'a device in it is none')
    return Leaf('device')


def encoded(reader, text, encoding):
    """Python 3 writes bytes so, for Python 2 to read."""
    latin = type(text) is str and type(encoding) is str and encoding in ('latin1', 'latin-1')
    check(latin, 'bytes in it are encoded in another way than by pickle')
    reader.count_copied(len(text))
    return Leaf('bytes', len(text))


def history_method(reader, owner, name):
    """A pickled HistoryBuffer refers to its own statistics by getattr."""
    if not (
        type(owner) is Global and owner.name == HISTORY and type(name) is str and name in HISTORY_METHODS
    ):
        raise ForeignCallError('getattr')
    return Leaf(f'method {name}')


def numpy_dtype(reader, code, align, copy):
    # Without a copy, a state would change numpy's own dtype.
    check(
        type(code) is str and code in PLAIN_NUMBERS and align in (False, 0) and copy in (True, 1),
        f'it wants an array of dtype {code!r}'[:100] if type(code) is str else 'it wants an odd dtype',
    )
    return NumpyDtype(np.dtype(code).itemsize)


def reconstructed(reader, array_type, shape, code):
    plain = type(array_type) is Global and array_type.name == 'numpy.ndarray' and type(shape) is tuple
    one_byte = (type(code) is Leaf and code.kind == 'bytes' and code.nbytes == 1) or type(code) is str
    check(
        plain and len(shape) == 1 and is_int(shape[0], 0, 0) and one_byte, 'an array in it is none of numpy'
    )
    return Leaf('array')


def numpy_scalar(reader, dtype, content):
    check(
        type(dtype) is NumpyDtype
        and type(content) is Leaf
        and content.kind == 'bytes'
        and content.nbytes == dtype.item_size,
        'a scalar in it is no plain number',
    )
    return Leaf('scalar')


CALLS = {
    'torch._utils._rebuild_tensor': tensor,
    'torch._utils._rebuild_tensor_v2': tensor,
    'torch._utils._rebuild_tensor_v3': tensor_of_dtype,
    'torch._utils._rebuild_parameter': parameter,
    'torch.Size': size,
    'torch.device': device,
    'collections.OrderedDict': ordered_dict,
    'collections.Counter': counter,
    'builtins.set': plain_set,
    'builtins.complex': complex_number,
    'builtins.getattr': history_method,
    '_codecs.encode': encoded,
    'numpy.dtype': numpy_dtype,
    # numpy 1 calls the module core, numpy 2 _core.
    **{f'numpy.{core}.multiarray._reconstruct': reconstructed for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': numpy_scalar for core in ('core', '_core')},
}
