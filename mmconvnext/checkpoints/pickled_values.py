"""Values that a pickle may contain, and functions that it may call to create them.

Anything that ``torch.save`` does not write for weights, plain values and mmengine's loss history is refused.
Tensors and arrays are represented by stand-ins that have a size but no data.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch

MAX_NAME_LENGTH = 1000
MAX_DIMENSIONS = 16
MAX_SIDE = 2**40

# Storage types that torch.save writes, and the dtype of their elements.
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
# Codes that numpy pickles for its numeric dtypes.
PLAIN_NUMBERS = ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'c8', 'c16')
HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
NAMESPACE = 'argparse.Namespace'
HISTORY_METHODS = ('min', 'max', 'mean', 'current')


class RefusedError(Exception):
    """A valid pickle contains more than data; the message says what."""


class ForeignCallError(RefusedError):
    def __init__(self, name: str):
        super().__init__(f'it calls {name[:MAX_NAME_LENGTH]}, which can run arbitrary code')


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
    """A value without parts, such as a tensor, an array, a scalar or bytes.

    Attributes:
        kind: kind of the value.
        nbytes: memory in bytes beyond that of a Python object.
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
    module = {'__builtin__': 'builtins'}.get(module, module)  # the name in Python 2
    path = f'{module}.{name}'
    if path in DTYPES:
        return Leaf('torch.dtype')
    if path in CALLS or path in ITEM_SIZES or path in (HISTORY, NAMESPACE, 'numpy.ndarray'):
        return Global(path)
    raise ForeignCallError(path.removeprefix('builtins.'))


def new_object(target: object, arguments: object) -> Instance:
    if type(target) is not Global:
        raise ValueError('an object is created from a value that is not a class')
    if target.name not in (HISTORY, NAMESPACE) or arguments != ():
        raise ForeignCallError(target.name)
    return Instance(target.name)


def call(reader, target: object, arguments: object) -> object:
    """Return the stand-in for the result of a call."""
    if type(target) is not Global or type(arguments) is not tuple:
        raise ValueError('a value is called that is not a function')
    if target.name not in CALLS:
        raise ForeignCallError(target.name)
    try:
        return CALLS[target.name](reader, *arguments)
    except TypeError as error:  # wrong number of arguments
        raise RefusedError(f'it calls {target.name} with arguments that torch.save does not write') from error


def give_state(reader, target: object, state: object) -> None:
    """Set the state of an object from a pickle."""
    if type(target) is Instance:
        check(type(state) is dict, f'it contains a {target.name} whose state is not a dict')
        (check_history if target.name == HISTORY else check_namespace)(state)
        target.attributes.update(state)
    elif type(target) is OrderedDict:
        # The state dict of a module stores versions as ``_metadata``.
        check(type(state) is dict and set(state) <= {'_metadata'}, 'it contains a dict with attributes')
        target.__dict__.update(state)
    elif type(target) is NumpyDtype:
        plain = type(state) is tuple and len(state) == 8 and type(state[1]) is str and state[1] in '<>|='
        check(plain and is_plain_dtype(state), 'it contains an array that is not numeric')
    elif type(target) is Leaf and target.kind == 'array':
        give_array_state(reader, target, state)
    else:
        raise ValueError('a state is set on an object that has none')


def give_array_state(reader, array: Leaf, state: object) -> None:
    check(
        type(state) is tuple and len(state) == 5, 'it contains an array in a form that numpy does not write'
    )
    _, shape, dtype, fortran, content = state
    check(
        is_shape(shape) and type(dtype) is NumpyDtype and type(fortran) in (bool, int),
        'it contains an array that is not numeric',
    )
    nbytes = prod(shape) * dtype.item_size
    check(
        type(content) is Leaf and content.kind == 'bytes' and content.nbytes == nbytes,
        f'it contains an array that should have {nbytes:,} bytes and has another number',
    )
    array.nbytes = nbytes
    reader.count_copied(nbytes)


def storage_of(identity: object) -> Storage:
    """Return the stand-in for a storage, from its description in a pickle."""
    # Old versions of torch append None if the storage is not a view.
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[5:] not in ((), (None,)):
        raise ValueError('a storage is described in a form that torch.save does not write')
    kind, storage_type, key, location, numel = identity[:5]
    if not (kind == 'storage' and type(key) is str and type(location) is str):
        raise ValueError('a storage is described in a form that torch.save does not write')
    check(
        type(storage_type) is Global and storage_type.name in ITEM_SIZES and is_int(numel),
        'it contains a storage that is not numeric',
    )
    return Storage(key, ITEM_SIZES[storage_type.name], numel)


def check_key(key: object) -> None:
    # Large integers can be chosen so that their hashes collide, which makes a dict slow.
    short = type(key) is str and len(key) <= MAX_NAME_LENGTH
    check(
        short or is_int(key, -(2**31), 2**31) or type(key) is bool,
        'it contains a dict with a key that is not a short string or number',
    )


def check_namespace(state: dict) -> None:
    for name in state:
        check(
            type(name) is str and not name.startswith('__'),
            f'it contains a {NAMESPACE} with an invalid attribute name',
        )


def check_history(state: dict) -> None:
    methods = state.get('statistics_methods', {})
    arrays = [state.get(name) for name in ('_log_history', '_count_history')]
    check(
        set(state) == {'_log_history', '_count_history', 'max_length', 'statistics_methods'}
        and is_int(state['max_length'])
        and all(type(array) is Leaf and array.kind == 'array' for array in arrays)
        and type(methods) in (dict, OrderedDict)
        # All HistoryBuffers of a process share this table, so each name must map to its own method.
        and all(type(method) is Leaf and method.kind == f'method {name}' for name, method in methods.items()),
        'it contains a loss history that mmengine did not write',
    )


def is_plain_dtype(state: tuple) -> bool:
    version, _, *rest = state
    numbers = [type(value) is int for value in rest[3:]]
    return is_int(version) and rest[:3] == [None] * 3 and all(numbers) and rest[3:] == [-1, -1, 0]


def is_shape(shape: object) -> bool:
    return type(shape) is tuple and len(shape) <= MAX_DIMENSIONS and all(is_int(side) for side in shape)


# Functions that a pickle may call, with the arguments that torch and numpy write.


def tensor(reader, storage, offset, shape, stride, requires_grad=False, hooks=None, metadata=None):
    return strided(storage, offset, shape, stride, hooks, metadata)


def tensor_of_dtype(reader, storage, offset, shape, stride, requires_grad, hooks, dtype, metadata=None):
    check(type(dtype) is Leaf and dtype.kind == 'torch.dtype', 'it contains a tensor without a dtype')
    check(type(storage) is Storage and storage.item_size == 1, 'it contains a tensor that is not numeric')
    # Every dtype has at least one byte per element; torch itself checks against the actual size.
    return strided(storage, offset, shape, stride, hooks, metadata)


def strided(storage, offset, shape, stride, hooks, metadata) -> Leaf:
    check(
        type(storage) is Storage and is_int(offset) and is_shape(shape) and is_shape(stride),
        'it contains a tensor in a form that torch.save does not write',
    )
    check(
        len(shape) == len(stride),
        f'it contains a tensor with {len(shape)} dimensions and {len(stride)} strides',
    )
    check(hooks is None or (type(hooks) is OrderedDict and not hooks), 'it contains a tensor with hooks')
    check(metadata is None or metadata == {}, 'it contains a tensor with attributes')
    numel = prod(shape)
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) if numel else -1
    check(
        last < storage.numel,
        f'it contains a tensor that needs {last + 1:,} elements of a storage of {storage.numel:,}',
    )
    check(
        numel <= storage.numel,
        f'it contains an expanded tensor: shape {shape} with {storage.numel:,} stored elements; save a '
        'contiguous copy of it',
    )
    return Leaf('tensor', numel * storage.item_size)


def parameter(reader, data, requires_grad, hooks):
    check(type(data) is Leaf and data.kind == 'tensor', 'it contains a parameter that is not a tensor')
    check(type(hooks) is OrderedDict and not hooks, 'it contains a tensor with hooks')
    return data


def ordered_dict(reader, pairs=()):
    # Python 2 wrote the items as pairs.
    check(type(pairs) in (list, tuple), 'it contains a dict that is not made from pairs')
    reader.count_copied(100 * len(pairs))
    made = OrderedDict()
    for pair in pairs:
        check(
            type(pair) in (list, tuple) and len(pair) == 2, 'it contains a dict that is not made from pairs'
        )
        check_key(pair[0])
        made[pair[0]] = pair[1]
    return made


def counter(reader, counts=None):
    counts = {} if counts is None else counts
    check(
        type(counts) is dict and all(map(is_number, counts.values())),
        'it contains a Counter with counts that are not numbers',
    )
    reader.count_copied(100 * len(counts))
    return dict(counts)


def plain_set(reader, items):
    check(type(items) is list, 'it contains a set that is not made from a list')
    for item in items:
        check_key(item)
    reader.count_copied(100 * len(items))
    return list(items)


def is_number(value: object) -> bool:
    return type(value) in (int, float, bool)


def complex_number(reader, real, imaginary):
    check(is_number(real) and is_number(imaginary), 'it contains an invalid complex number')
    return Leaf('complex')


def size(reader, shape):
    check(is_shape(shape), 'it contains an invalid torch.Size')
    return shape


def device(reader, name, index=0):
    check(type(name) is str and len(name) < 20 and is_int(index, 0, 127), 'it contains an invalid device')
    return Leaf('device')


def encoded(reader, text, encoding):
    """Handle bytes, which Python 3 writes as encoded text so that Python 2 can read them."""
    latin = type(text) is str and type(encoding) is str and encoding in ('latin1', 'latin-1')
    check(latin, 'it contains bytes in a form that pickle does not write')
    reader.count_copied(len(text))
    return Leaf('bytes', len(text))


def history_method(reader, owner, name):
    """Handle ``getattr``, by which a pickled HistoryBuffer refers to its own statistics."""
    if not (
        type(owner) is Global and owner.name == HISTORY and type(name) is str and name in HISTORY_METHODS
    ):
        raise ForeignCallError('getattr')
    return Leaf(f'method {name}')


def numpy_dtype(reader, code, align, copy):
    # Without a copy, setting a state would modify numpy's own dtype.
    check(
        type(code) is str and code in PLAIN_NUMBERS and align in (False, 0) and copy in (True, 1),
        f'it contains an array of dtype {code!r}'[:100]
        if type(code) is str
        else 'it contains an invalid dtype',
    )
    return NumpyDtype(np.dtype(code).itemsize)


def reconstructed(reader, array_type, shape, code):
    plain = type(array_type) is Global and array_type.name == 'numpy.ndarray' and type(shape) is tuple
    one_byte = (type(code) is Leaf and code.kind == 'bytes' and code.nbytes == 1) or type(code) is str
    check(
        plain and len(shape) == 1 and is_int(shape[0], 0, 0) and one_byte,
        'it contains an array in a form that numpy does not write',
    )
    return Leaf('array')


def numpy_scalar(reader, dtype, content):
    check(
        type(dtype) is NumpyDtype
        and type(content) is Leaf
        and content.kind == 'bytes'
        and content.nbytes == dtype.item_size,
        'it contains a scalar that is not a number',
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
    # The module is called core in numpy 1 and _core in numpy 2.
    **{f'numpy.{core}.multiarray._reconstruct': reconstructed for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': numpy_scalar for core in ('core', '_core')},
}
