"""Let mmengine, too, read checkpoints as data only, and in any format."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from mmengine.runner import CheckpointLoader

from ..checkpoints.loading import load_checkpoint
from ..checkpoints.reading import Weights, recognise, weights_of
from ..errors import UserError
from ..models.fitting import from_file
from .names import find, load_weights

# mmengine's loaders for these unpickle without asking what is inside.
UNSAFE_SCHEMES = (
    *('modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://', 'pavi://'),
    *(r'(\S+\:)?s3://', r'(\S+\:)?petrel://'),
)


# Of which prefixes ours read.
SCHEMES = ('', 'http://', 'https://', 'mmconvnext://')


class Rules(NamedTuple):
    """How checkpoints are read; see ``load_checkpoint`` and ``load_weights``."""

    trust: bool = False
    weights: str | None = None


# Those of this thread; another one may load a checkpoint by other rules, or by mmengine's.
rules: ContextVar[Rules | None] = ContextVar('rules', default=None)
changing = Lock()
users = 0  # threads that need our loaders now
mmengines: dict = {}  # its table of loaders without ours


@contextmanager
def safe_loading(*, trust: bool = False, weights: str | None = None) -> Iterator[None]:
    """Let mmengine read files, URLs and ``mmconvnext://NAME`` with our loaders inside, and nothing else.

    A program with mmengine's own Runner builds and runs it inside: weights of every format then load from
    ``load_from`` and ``init_cfg``, no code in a checkpoint runs, and weights that do not fit our backbone
    raise an error, where mmengine logs a warning and starts from random ones. Our Runner does so by itself.

    Args:
        trust: see ``load_checkpoint``.
        weights: see ``load_weights``.
    """
    former = rules.set(Rules(trust, weights))
    try:
        with our_loaders():
            yield
    finally:
        rules.reset(former)


@contextmanager
def our_loaders() -> Iterator[None]:
    """Keep them in mmengine's table while a thread needs them; other threads load as without them."""
    global mmengines, users
    with changing:
        if users == 0:
            mmengines = CheckpointLoader._schemes
            CheckpointLoader._schemes = dict(mmengines)
            CheckpointLoader.register_scheme(SCHEMES, load_from_mmconvnext, force=True)
            CheckpointLoader.register_scheme(UNSAFE_SCHEMES, load_from_elsewhere, force=True)
        users += 1
    try:
        yield
    finally:
        with changing:
            users -= 1
            if users == 0:
                added = CheckpointLoader._schemes.items() - mmengines.items()
                CheckpointLoader._schemes = mmengines
                for prefix, loader in added:
                    if loader not in (load_from_mmconvnext, load_from_elsewhere):  # registered inside
                        CheckpointLoader.register_scheme(prefix, loader, force=True)


# mmengine names the functions, from the eleventh letter on, in its log.
def load_from_mmconvnext(filename: str, map_location=None, **options) -> dict:
    current = rules.get()
    if current is None:
        return load_as_mmengine(filename, map_location, **options)
    named = find(filename, 'checkpoint')
    if named.weights is None or Path(named.weights).is_dir():
        tensors = load_weights(named, weights=current.weights, trust=current.trust).tensors
        return dict(state_dict=from_file(tensors, filename))
    checkpoint = load_checkpoint(named.weights, map_location, trust=current.trust)
    tensors = weights_of(checkpoint, current.weights)
    try:
        found = recognise(tensors, filename)
    except UserError:  # the weights of another model
        found = None
    if found is not None and not has_our_names(found):
        return dict(state_dict=from_file(found.tensors, filename))
    # mmengine looks for weights under state_dict only, and takes all else for weights.
    return dict(checkpoint if 'state_dict' in checkpoint else {}, state_dict=from_file(tensors, filename))


def has_our_names(found: Weights) -> bool:
    """Whether the names of a file are ours, perhaps of a backbone alone, which ``init_cfg`` starts from."""
    return found.format == 'openmmlab' and (
        all(ours == theirs for ours, theirs in found.names.items())
        or all(ours == f'backbone.{theirs}' for ours, theirs in found.names.items())
    )


def load_from_elsewhere(filename: str, map_location=None, **options) -> dict:
    if rules.get() is None:
        return load_as_mmengine(filename, map_location, **options)
    raise UserError(
        f'checkpoint {filename}: only files, http(s) URLs and mmconvnext:// names are read; download it '
        'and name the file'
    )


def load_as_mmengine(filename: str, map_location=None, **options) -> dict:
    """Load with the first of mmengine's loaders whose prefix fits, as ``CheckpointLoader`` does."""
    loader = next(loader for prefix, loader in mmengines.items() if re.match(prefix, filename))
    return loader(filename, map_location, **options)
