"""Malicious and damaged pickles."""

import pickle
import pickletools
import random
import struct
from pathlib import Path


def text(value: str) -> bytes:
    encoded = value.encode()
    return b'X' + struct.pack('<I', len(encoded)) + encoded


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def call(name: str, *arguments: bytes) -> bytes:
    module, _, function = name.rpartition('.')
    return f'c{module}\n{function}\n('.encode() + b''.join(arguments) + b'tR'


def storage(numel: int, key: str = '0', kind: str = 'Float') -> bytes:
    return (
        b'('
        + text('storage')
        + f'ctorch\n{kind}Storage\n'.encode()
        + text(key)
        + text('cpu')
        + number(numel)
        + b'tQ'
    )


def view(shape: tuple, stride: tuple, *, numel: int = 1, offset: int = 0, key: str = '0') -> bytes:
    sides, steps = (b'(' + b''.join(map(number, sizes)) + b't' for sizes in (shape, stride))
    hooks = call('collections.OrderedDict')
    return call(
        'torch._utils._rebuild_tensor_v2', storage(numel, key), number(offset), sides, steps, b'\x89', hooks
    )


def copies(value: bytes, function: str, *arguments: bytes, times: int = 20_000) -> bytes:
    """Return pickle code whose calls copy the same value repeatedly."""
    again = call(function, b'j' + struct.pack('<I', 9000), *arguments)
    return b'(' + value + b'r' + struct.pack('<I', 9000) + times * again + b't'


def snippets(canary: Path) -> list[bytes]:
    """Return pickle code that stands in place of a value but does more than return one."""
    latin = text('latin1')
    one_byte = call('_codecs.encode', text('b'), latin)
    dtype = call('numpy.dtype', text('f8'), b'\x89', b'\x88')
    ndarray = b'cnumpy\nndarray\n'
    array = call('numpy.core.multiarray._reconstruct', ndarray, b'(K\x00t', one_byte)
    content = call('_codecs.encode', text('12345678'), latin)
    return [
        call('os.system', text(f'touch {canary}')),
        call('posix.system', text(f'touch {canary}')),
        call('builtins.eval', text(f"open({str(canary)!r}, 'w')")),
        call('builtins.exec', text(f"open({str(canary)!r}, 'w')")),
        call('builtins.open', text(str(canary)), text('w')),
        call('builtins.getattr', call('builtins.getattr', b'cos\nsystem\n', text('__call__')), text('x')),
        call('torch.hub.load', text('a'), text('b')),
        call('torch.serialization.load', text(str(canary))),
        call('subprocess.Popen', text(f'touch {canary}')),
        call('mmengine.config.Config.fromfile', text(str(canary))),
        call('numpy.ndarray', b'(' + number(10**10) + b't'),
        call('numpy.dtype', text('O'), b'\x89', b'\x88'),
        call('numpy.dtype', text('V4000000000'), b'\x89', b'\x88'),
        call('numpy.dtype', text('f8'), b'\x89', b'\x89')
        + b'(K\x03'
        + text('>')
        + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb',
        array + b'(K\x01(' + number(10**10) + b't' + dtype + b'\x89' + content + b'tb',
        call('numpy.core.multiarray._reconstruct', ndarray, b'(' + number(10**10) + b't', one_byte),
        call('numpy._core.multiarray.scalar', dtype, call('_codecs.encode', text('1'), latin)),
        call('builtins.bytearray', number(10**10)),
        call('_codecs.encode', text('x'), text('zlib_codec')),
        call('torch.FloatStorage', number(10**10)),
        call('torch.Tensor', number(10**10)),
        call(
            'torch._utils._rebuild_meta_tensor_no_storage',
            b'ctorch\nfloat32\n',
            number(10**10),
            b'K\x01',
            b'\x89',
        ),
        call(
            'torch._utils._rebuild_device_tensor_from_numpy',
            array,
            b'ctorch\nfloat32\n',
            text('cpu'),
            b'\x89',
        ),
        call('torch.Size', b'(' + number(-1) + b't'),
        call('torch.device', text('nowhere')),
        view((4000, 4000), (0, 0)),
        view((10**6,), (10**9,)),
        view((2,), (-1,)),
        view((1,), (1,), offset=10**12),
        view((1,), (1,), numel=10**12),
        view((1,), (1,), key='no such storage'),
        view((0, 2**62, 2**62), (1, 1, 1)),
        b')' + b''.join(b'q' + bytes([i]) + b'h' + bytes([i]) + b'\x86' for i in range(60)),
        b']q\x01h\x01a',
        1000 * b'(' + 1000 * b't',
        100_000 * b'(' + 100_000 * b't',
        number(1 << 2000),
        b'\x8b' + struct.pack('<i', -5) + b'12345',
        b'X\xff\xff\xff\xffabc',
        b'}]K\x01s',
        b'}(' + b''.join(number(i * (2**61 - 1)) + b'N' for i in range(1, 20_000)) + b'u',
        copies(text('x' * 100_000), '_codecs.encode', latin),
        copies(b'}(' + b''.join(number(i) + b'K\x01' for i in range(10_000)) + b'u', 'collections.Counter'),
        b'cargparse\nNamespace\n)\x81}' + text('__class__') + b'Nsb',
        b'cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81}'
        + text('statistics_methods')
        + text('x')
        + b'sb',
        call('collections.OrderedDict') + b'}' + text('items') + b'Nsb',
        b'cbuiltins\nset\n',
        b'h\xfe',
        b'0',
        b'R',
        b'b',
        b'Q',
        b'.',
    ]


def opcodes(pickled: bytes) -> list[bytes]:
    places = [place for _, _, place in pickletools.genops(pickled)] + [len(pickled)]
    return [pickled[start:end] for start, end in zip(places, places[1:], strict=False)]


VALUES = {pickle.BININT[0], pickle.BININT1[0], pickle.BINUNICODE[0], pickle.NONE[0], pickle.BINGET[0]}


def mutated_pickle(rng: random.Random, pickled: bytes, extra: list[bytes]) -> bytes:
    steps = opcodes(pickled)
    for _ in range(rng.choice((1, 1, 1, 3))):
        place = rng.randrange(2, len(steps) - 1)
        values = [i for i, step in enumerate(steps) if step[0] in VALUES and i > 2]
        kind = rng.choice(
            ('insert', 'insert', 'insert', 'number', 'text', 'drop', 'twice', 'swap', 'cut', 'flip', 'put')
        )
        if kind == 'insert':
            steps[rng.choice(values)] = rng.choice(extra)
        elif kind == 'number':
            odd = rng.choice((-1, 0, 1, 255, 2**31 - 1, 2**40, 2**63, 2**64, -(2**70)))
            steps[rng.choice([i for i in values if steps[i][0] != pickle.BINUNICODE[0]])] = number(odd)
        elif kind == 'text':
            odd = rng.choice(
                ('', 'x', '../../x', '\x1b[2J', 'a' * 5000, 'cuda:99', 'storage', '\x00', 'é' * 40)
            )
            steps[rng.choice(values)] = text(odd)
        elif kind == 'drop':
            del steps[place]
        elif kind == 'twice':
            steps[place:place] = steps[place : place + rng.randrange(1, 200)]
        elif kind == 'swap':
            other = rng.randrange(2, len(steps) - 1)
            steps[place], steps[other] = steps[other], steps[place]
        elif kind == 'cut':
            del steps[place:]
            break
        elif kind == 'flip':
            step = bytearray(steps[place])
            step[rng.randrange(len(step))] ^= 1 << rng.randrange(8)
            steps[place] = bytes(step)
        else:
            steps[place:place] = [b'r' + struct.pack('<I', rng.choice((0, 1, 2**32 - 1)))]
    return b''.join(steps)
