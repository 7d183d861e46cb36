"""Read a checkpoint as data: nothing in the file is executed."""

from argparse import Namespace
from pathlib import Path
from warnings import warn

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import load_file

from ..errors import UserError
from ..files import check_regular
from .borders import ZIP_START, check_safetensors, check_torch
from .downloading import fetch
from .pickles import PLAIN_NUMBERS, RefusedError
from .tensorflow import read_h5


def history_method(owner: type, name: str):
    """Stands in for getattr, by which a pickled HistoryBuffer refers to its own statistics."""
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
    """The content of a file that torch, safetensors or Keras wrote, or of a URL to one.

    Args:
        source: a file or URL, see ``fetch``.
        map_location: where tensors go, as in ``torch.load``.
        mmap: leave tensors on disk until they are read, for a look at names and shapes.
        trust: unpickle whatever the file holds, which runs any code in it.

    Returns:
        What ``torch.save`` was given; name to tensor from the others.

    Raises:
        UserError: the file is missing, truncated, no checkpoint, or holds more than data.
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
            f'{found} was not loaded: {error}. A checkpoint needs tensors and plain values only; save it '
            'again with no more than those. If you know who made the file, --trust-checkpoint runs what it '
            'asks for, with your rights.'
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
        warn(f'{file} is trusted: any code in it runs now, with your rights', stacklevel=4)
        return torch.load(file, map_location=map_location, weights_only=False, mmap=mmap)
    check_torch(file)
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        return torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)


def _not_a_checkpoint(found: str, error: Exception) -> str:
    reason = (str(error).splitlines() or [''])[0].split('. ')[0]
    # Some reasons are no more than a byte that was met.
    reason = f' ({reason})' if ' ' in reason else ''
    return (
        f'{found} is truncated or not a checkpoint{reason}; copy or download it again, or name another file'
    )
