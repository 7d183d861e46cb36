"""Make malicious and damaged files from a valid checkpoint and a seed."""

import copy
import json
import math
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

from tests.hostile_pickles import mutated_pickle, snippets, text


def rezipped(file: Path, honest: Path, change: Callable[[str, bytes], bytes], **options) -> None:
    with zipfile.ZipFile(honest) as source, zipfile.ZipFile(file, 'w', **options) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))


def mutated_zip(rng: random.Random, file: Path, honest: Path) -> None:
    kind = rng.choice(
        ('deflate', 'twice', 'short', 'end', 'directory', 'before', 'behind', 'cut', 'flip', 'upper')
    )
    if kind == 'deflate':
        rezipped(file, honest, lambda name, content: content, compression=zipfile.ZIP_DEFLATED)
    elif kind == 'short':
        rezipped(
            file,
            honest,
            lambda name, content: content[: rng.choice((0, 1, 1000))] if '/data/' in name else content,
        )
    elif kind in ('twice', 'upper'):
        shutil.copy(honest, file)
        with zipfile.ZipFile(file, 'a') as archive:
            name = rng.choice(archive.namelist())
            archive.writestr(name.upper() if kind == 'upper' else name, b'\x80\x02}.')
    else:
        content = bytearray(honest.read_bytes())
        ends = len(content)
        directory = content.find(b'PK\x01\x02')
        if kind == 'before':
            content[:0] = b'PK\x03\x04' + bytes(60)
        elif kind == 'behind':
            content += bytes(rng.randrange(1, 70))
        elif kind == 'cut':
            del content[rng.randrange(ends) :]
        else:
            low = {'end': ends - 98, 'directory': directory, 'flip': 0}[kind]
            for _ in range(rng.randrange(1, 9)):
                content[rng.randrange(low, ends)] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
        file.write_bytes(content)


def odd_values(canary: Path) -> list:
    nested = ['x']
    for _ in range(30):
        nested = [nested]
    return [
        *(None, True, -1, 0, 1, 2**31, 10**9, 2**62, -(2**63), 10**30, 0.5, -1.5, 1e308, math.inf, math.nan),
        *('', 'x', 'os.system', '../../..', '/', '\x1b[2J\x07', 'y' * 100_000, '=cmd()'),
        *([], [[]], [-1], ['a', 1], [10**9], [1] * 50, [10**9] * 4, nested),
        *({}, {'': None}, {'a': {'b': {'c': 1}}}, {'0': 'x', '7': 'y'}),
        dict(type='os.system', command=f'touch {canary}'),
        dict(type='subprocess.Popen'),
        dict(type='LN2d', eps=-1.0),
    ]


def paths_in(value, path: tuple = ()) -> Iterator[tuple]:
    """Return the path of every item in nested dicts and lists."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from paths_in(part, (*path, key))


def replaced(rng: random.Random, content: dict, odd: list) -> dict:
    """Return the content with one to three values changed, removed or renamed."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 3))):
        places = list(paths_in(content))
        if not places:
            break
        # Draw the depth first, so that the many tensors do not crowd out the few values that describe them.
        depth = rng.choice(sorted({len(path) for path in places}))
        *path, key = rng.choice([path for path in places if len(path) == depth])
        parent = content
        for step in path:
            parent = parent[step]
        kind = rng.choice(('odd', 'odd', 'odd', 'gone', 'renamed'))
        if kind == 'odd':
            parent[key] = copy.deepcopy(rng.choice(odd))  # later changes must not affect other files
        elif kind == 'gone':
            del parent[key]
        elif isinstance(parent, dict):
            parent[rng.choice(('', 'x', 'state_dict', 'a.b', 'é', 7))] = parent.pop(key)
    return content


def mutated_json(rng: random.Random, content: bytes, odd: list) -> bytes:
    kind = rng.choice((*8 * ('replaced',), 'deep', 'cut', 'flip', 'array', 'number', 'binary'))
    if kind == 'replaced':
        return json.dumps(replaced(rng, json.loads(content), odd)).encode()
    if kind == 'flip':
        changed = bytearray(content)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    return {
        'deep': b'{"id2label": ' + 100_000 * b'[' + 100_000 * b']' + b'}',
        'cut': content[: rng.randrange(len(content))],
        'array': b'[' + content + b']',
        'number': content.replace(b'4', 5000 * b'9', 1),
        'binary': b'\xff\xfe' + content,
    }[kind]


def mutated_safetensors(rng: random.Random, content: bytes, odd: list) -> bytes:
    (size,) = struct.unpack_from('<Q', content)
    header, tensors = content[8 : 8 + size], content[8 + size :]
    kind = rng.choice(('json', 'json', 'json', 'size', 'cut', 'offsets', 'metadata', 'many'))
    if kind == 'size':
        return (
            struct.pack('<Q', rng.choice((0, 1, size - 1, size + 1, 10**8, 2**63, 2**64 - 1))) + content[8:]
        )
    if kind == 'cut':
        return content[: rng.randrange(len(content))]
    fields = json.loads(header)
    names = [name for name in fields if name != '__metadata__']
    if kind == 'offsets':
        fields[rng.choice(names)]['data_offsets'] = rng.choice(
            ([0, 4], [4, 0], [0, 10**12], [-4, 0], [0], None)
        )
    elif kind == 'metadata':
        fields['__metadata__'] = rng.choice(({'format': 'x' * 3_000_000}, {'format': 1}, [], {'a': {}}))
    elif kind == 'many':
        fields |= {f'n{i}': dict(dtype='F32', shape=[0, 2**40], data_offsets=[0, 0]) for i in range(5000)}
    header = mutated_json(rng, header, odd) if kind == 'json' else json.dumps(fields).encode()
    return struct.pack('<Q', len(header)) + header + tensors


def odd_tensors() -> list:
    shapes = [(0,), (1,), (), (3, 4), (1, 1, 1, 1, 1)]
    dtypes = [torch.bool, torch.complex64, torch.int64, torch.float16]
    odd = [torch.ones(shape) for shape in shapes] + [torch.ones(8, dtype=dtype) for dtype in dtypes]
    return [*odd, torch.full((8,), math.nan)]


def h5_files(folder: Path) -> Iterator[Path]:
    def file(name: str) -> tuple[Path, h5py.File]:
        path = folder / f'{name}.h5'
        return path, h5py.File(path, 'w')

    path, target = file('zeros')
    with target:
        target.create_dataset('convnext/a:0', (10**5, 10**5), 'f4', compression='gzip')
    yield path
    path, target = file('one_chunk')
    with target:
        target.create_dataset('a', (1,), 'f4', chunks=(2**28,), maxshape=(None,), compression='gzip')
    yield path
    path, target = file('circle')
    with target:
        target.create_group('a/b')
        target['a/b/c'] = target['a']
    yield path
    path, target = file('links')
    with target:
        target['a'] = np.ones(1000, 'f4')
        for i in range(500):
            target[f'l{i}'] = target['a']
    yield path
    path, target = file('outside')
    with target:
        target['a'] = h5py.ExternalLink('/etc/passwd', '/')
    yield path
    path, target = file('deep')
    with target:
        group = target
        for _ in range(300):
            group = group.create_group('g')
    yield path
    path, target = file('names')
    with target:
        target.create_dataset('layers/conv2d/vars/0', data=np.ones(3, 'f4'))
        target['layers/conv2d'].attrs['name'] = np.ones(1000)
    yield path
    path, target = file('references')
    with target:
        target.create_dataset('a', data=np.array([target.ref], dtype=object), dtype=h5py.ref_dtype)
    yield path


def no_files(folder: Path) -> Iterator[Path]:
    for suffix in ('.pth', '.safetensors', '.h5', '.bin'):
        os.mkfifo(folder / f'pipe{suffix}')
        (folder / f'device{suffix}').symlink_to('/dev/zero')
        (folder / f'empty{suffix}').touch()
        (folder / f'page{suffix}').write_text('<html>404 Not Found</html>')
        (folder / f'folder{suffix}').mkdir()
        for name in ('pipe', 'device', 'empty', 'page', 'folder'):
            yield folder / f'{name}{suffix}'
    (folder / 'tar.pth').write_bytes(b'storages'.ljust(257, b'\0') + b'ustar'.ljust(255, b'\0'))
    yield folder / 'tar.pth'


def hostile_files(
    folder: Path, honest: Path, directory: Path, canary: Path, *, seed: int, count: int
) -> Iterator[Path]:
    """Write about ``count`` malicious files.

    Args:
        folder: an empty folder to write to.
        honest: a valid training checkpoint (.pth).
        directory: the same network in the format of transformers.
        canary: a file that is created if code in a checkpoint runs.
    """
    rng = random.Random(seed)
    extra, odd = snippets(canary), odd_values(canary)
    content = torch.load(honest, weights_only=False)
    with zipfile.ZipFile(honest) as archive:
        pickled_name = next(name for name in archive.namelist() if name.endswith('/data.pkl'))
        pickled = archive.read(pickled_name)

    def with_pickle(file: Path, changed: bytes) -> Path:
        rezipped(file, honest, lambda name, old: changed if name == pickled_name else old)
        return file

    def legacy(file: Path) -> Path:
        torch.save(content, file, _use_new_zipfile_serialization=False)
        changed = bytearray(file.read_bytes())
        for _ in range(rng.randrange(1, 9)):
            changed[rng.randrange(min(len(changed), 60_000))] = rng.randrange(256)
        file.write_bytes(changed)
        return file

    def described(path: Path) -> Path:
        shutil.copytree(directory, path)
        name = rng.choice(('config.json', 'config.json', 'preprocessor_config.json'))
        (path / name).write_bytes(mutated_json(rng, (directory / name).read_bytes(), odd))
        return path

    yield from no_files(folder)
    yield from h5_files(folder)
    for i, snippet in enumerate(extra):
        yield with_pickle(folder / f'snippet_{i}.pth', b'\x80\x02}' + text('state_dict') + snippet + b's.')
    for i in range(count * 3 // 10):
        yield with_pickle(folder / f'pickle_{i}.pth', mutated_pickle(rng, pickled, extra))
    for i in range(count // 10):
        mutated_zip(rng, folder / f'zip_{i}.pth', honest)
        yield folder / f'zip_{i}.pth'
        yield legacy(folder / f'legacy_{i}.pth')
    for i in range(count * 2 // 10):
        torch.save(replaced(rng, content, odd + odd_tensors()), folder / f'content_{i}.pth')
        yield folder / f'content_{i}.pth'
    weights = (directory / 'model.safetensors').read_bytes()
    for i in range(count // 10):
        file = folder / f'header_{i}.safetensors'
        file.write_bytes(mutated_safetensors(rng, weights, odd))
        yield file
    for i in range(count // 20):
        tensors = {f'{k}': v for k, v in replaced(rng, dict(content['state_dict']), odd_tensors()).items()}
        save_file(
            {k: v.contiguous().clone() for k, v in tensors.items()}, folder / f'tensors_{i}.safetensors'
        )
        yield folder / f'tensors_{i}.safetensors'
    for i in range(count * 2 // 10):
        yield described(folder / f'described_{i}')
