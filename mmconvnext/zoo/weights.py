"""From a name, a file or a URL to weights under our names."""

from dataclasses import replace
from pathlib import Path

from ..checkpoints.reading import Weights, read_weights
from ..errors import UserError
from .entries import Entry
from .names import Named, find


def load_weights(
    source: str | Path | Named,
    source_format: str = 'auto',
    *,
    weights: str | None = None,
    trust: bool = False,
    mmap: bool = False,
) -> Weights:
    """Load the weights of a published checkpoint, a file, a folder or a URL.

    Args:
        source: see ``find``; no config.
        source_format, weights, trust, mmap: see ``read_weights``.

    Raises:
        UserError: the source cannot be read, is of no supported format or has no such weights.
    """
    named = find(source, 'checkpoint')
    if named.entry is not None:
        return load_entry(named.entry, weights=weights, trust=trust, mmap=mmap)
    if named.weights is None:
        raise UserError(f'{named} is a config and holds no weights; name a checkpoint')
    return read_weights(named.weights, source_format, weights=weights, trust=trust, mmap=mmap)


def load_entry(
    entry: Entry, *, weights: str | None = None, trust: bool = False, mmap: bool = False
) -> Weights:
    """Weights of a checkpoint of the zoo, with what the zoo knows of them; see ``load_weights``."""
    loaded = read_weights(entry.weights, entry.format, weights=weights, trust=trust, mmap=mmap)
    return replace(
        loaded,
        source=entry.name,
        network=loaded.network or entry.network,
        preprocessing=loaded.preprocessing or entry.preprocessing,
        classes=loaded.classes or entry.class_names,
    )
