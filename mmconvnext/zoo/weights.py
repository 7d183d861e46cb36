"""From a name, a file or a URL to weights under our names."""

from dataclasses import replace
from pathlib import Path

from ..checkpoints.reading import Weights, read_weights
from .entries import Entry, get_entry, source_of


def load_weights(
    source: str | Path,
    source_format: str = 'auto',
    *,
    weights: str | None = None,
    trust: bool = False,
    mmap: bool = False,
) -> Weights:
    """Load the weights of a published checkpoint, a file, a folder or a URL.

    Args:
        source: a checkpoint of the zoo as ``NAME`` or ``mmconvnext://NAME``, or what ``read_weights`` takes.
        source_format, weights, trust, mmap: see ``read_weights``.

    Raises:
        UserError: the source cannot be read, is of no supported format or has no such weights.
    """
    source = source_of(source)
    if source.startswith('mmconvnext://'):
        entry = get_entry(source.removeprefix('mmconvnext://'))
        return load_entry(entry, weights=weights, trust=trust, mmap=mmap)
    return read_weights(source, source_format, weights=weights, trust=trust, mmap=mmap)


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
