"""Read a checkpoint as data: nothing in the file is executed."""

import os
import pickle
import re
import zipfile
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from ..errors import UserError
from .matching import weights_of


def history_method(owner: type, name: str):
    """Stands in for getattr, by which a pickled HistoryBuffer refers to its own statistics."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner}, {name!r})')
    return getattr(owner, name)


# What mmengine writes beside tensors: its loss history, which holds numpy arrays. numpy 1 pickles
# the two functions under numpy.core, numpy 2 under numpy._core; either file must load with either.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
SAFE_GLOBALS = [
    HistoryBuffer,
    (history_method, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u1', 'u4', 'u8', '?')},
    *((_RECONSTRUCT, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_SCALAR, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


# mmengine's loaders for these unpickle without asking what is inside.
UNSAFE_SCHEMES = (
    *('modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://', 'pavi://'),
    *(r'(\S+\:)?s3://', r'(\S+\:)?petrel://'),
)


def load_checkpoint(
    path: str | Path, map_location: str | torch.device | None = 'cpu', mmap: bool = False
) -> dict:
    """The content of a ``torch.save`` file or of a URL to one.

    Args:
        path: file or http(s) URL, which is kept in torch.hub's cache.
        map_location: where tensors go, as in ``torch.load``.
        mmap: leave tensors on disk until they are read, for a look at names and shapes.

    Raises:
        UserError: the file is missing, truncated, no checkpoint, or holds more than data.
    """
    file = fetch(path)
    if file.is_dir():
        raise UserError(f'checkpoint {file} is a folder; name a file in it')
    if not file.exists():
        raise UserError(f'checkpoint {file} does not exist; check the path')
    found = f'{file} ({file.stat().st_size:,} bytes)'
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            checkpoint = torch.load(
                file, map_location=map_location, weights_only=True, mmap=mmap and zipfile.is_zipfile(file)
            )
    except pickle.UnpicklingError as error:
        refused = re.search(r'(?:GLOBAL|function|but got) (<[^>]+>|[\w.]+)', str(error))
        if refused is None:
            raise UserError(_not_a_checkpoint(found, error)) from error
        raise UserError(
            f'{found} was not loaded: it wants to call {refused[1]}, which can run foreign code. '
            'A checkpoint needs tensors and plain values only; save it again without that object.'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise UserError(_not_a_checkpoint(found, error)) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{found} holds a {type(checkpoint).__name__}; a checkpoint is a dict of weights')
    # mmengine executes this config text when it resumes; it reads nothing from it but gpu_ids.
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)
    return checkpoint


def fetch(path: str | Path) -> Path:
    """The local file of a path or URL; one process a machine downloads, checked by the hash in its name."""
    if not str(path).startswith(('http://', 'https://')):
        return Path(path).expanduser()
    url = str(path)
    name = Path(urlparse(url).path).name
    digest = re.search(r'-([0-9a-f]{8,})\.', name)
    if digest is None:  # two URLs may end in the same name
        name = f'{sha256(url.encode()).hexdigest()[:8]}-{name}'
    file = Path(torch.hub.get_dir(), 'checkpoints', name)
    if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), hash_prefix=digest and digest[1])
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f'cannot download {url}: {error}. Check the network, or put the file at {file} yourself.'
            ) from error
    barrier()
    return file


def use_safe_loading() -> None:
    """From now on mmengine, too, reads files and URLs with ``load_checkpoint``, and nothing else."""
    CheckpointLoader.register_scheme(('', 'http://', 'https://'), _mmengine_loader, force=True)
    CheckpointLoader.register_scheme(UNSAFE_SCHEMES, _refuse, force=True)


def _mmengine_loader(filename: str, map_location=None, **_) -> dict:
    checkpoint = load_checkpoint(filename, map_location)
    # mmengine looks for weights under state_dict only, and takes all else for weights.
    return checkpoint if 'state_dict' in checkpoint else dict(state_dict=weights_of(checkpoint))


def _refuse(filename: str, map_location=None, **_) -> dict:
    raise UserError(
        f'checkpoint {filename}: only files and http(s) URLs are read; download it and name the file'
    )


def _not_a_checkpoint(found: str, error: Exception) -> str:
    reason = (str(error).splitlines() or [''])[0].split('. ')[0]
    # Some reasons are no more than a byte that was met.
    reason = f' ({reason})' if ' ' in reason else ''
    return (
        f'{found} is truncated or not a checkpoint{reason}; copy or download it again, or name another file'
    )
