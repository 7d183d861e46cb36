"""Make mmengine load checkpoints in any format, and without running code in them."""

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

# mmengine's loaders for these URLs unpickle without any check.
UNSAFE_SCHEMES = (
    *('modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://', 'pavi://'),
    *(r'(\S+\:)?s3://', r'(\S+\:)?petrel://'),
)
# Prefixes that our loader reads.
SCHEMES = ('', 'http://', 'https://', 'mmconvnext://')


class Rules(NamedTuple):
    """Arguments for reading checkpoints; see ``load_checkpoint`` and ``load_weights``."""

    trust: bool = False
    weights: str | None = None


# Rules of the current thread; others may load checkpoints with other rules, or with mmengine's loaders.
rules: ContextVar[Rules | None] = ContextVar('rules', default=None)
changing = Lock()
users = 0  # number of threads that currently use our loaders
mmengines: dict = {}  # mmengine's table of loaders, without ours


@contextmanager
def safe_loading(*, trust: bool = False, weights: str | None = None) -> Iterator[None]:
    """Context manager in which mmengine loads files, URLs and ``mmconvnext://NAME`` with our loaders only.

    Build and run mmengine's own Runner inside it. ``load_from`` and ``init_cfg`` then accept weights in every
    format, no code in a checkpoint runs, and weights that do not match our backbone raise an error; without
    it, mmengine only logs a warning and starts from random weights. Our Runner does this by itself.

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
    """Register our loaders in mmengine while a thread uses them; other threads keep mmengine's behavior."""
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


# mmengine logs the names of these functions without their first ten letters ("load_from_").
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
    except UserError:  # weights of another model
        found = None
    if found is not None and not has_our_names(found):
        return dict(state_dict=from_file(found.tensors, filename))
    # mmengine reads weights from state_dict, and treats the whole dict as weights if there is none.
    return dict(checkpoint if 'state_dict' in checkpoint else {}, state_dict=from_file(tensors, filename))


def has_our_names(found: Weights) -> bool:
    """Return whether a file has our parameter names, for a model or (for ``init_cfg``) a backbone alone."""
    return found.format == 'openmmlab' and (
        all(ours == theirs for ours, theirs in found.names.items())
        or all(ours == f'backbone.{theirs}' for ours, theirs in found.names.items())
    )


def load_from_elsewhere(filename: str, map_location=None, **options) -> dict:
    if rules.get() is None:
        return load_as_mmengine(filename, map_location, **options)
    raise UserError(
        f'checkpoint {filename}: only files, http(s) URLs and mmconvnext:// names are supported; download '
        'it and name the file'
    )


def load_as_mmengine(filename: str, map_location=None, **options) -> dict:
    """Load with the first of mmengine's loaders whose prefix matches, as ``CheckpointLoader`` does."""
    loader = next(loader for prefix, loader in mmengines.items() if re.match(prefix, filename))
    return loader(filename, map_location, **options)
