"""Which images does a folder hold?"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

# What is taken from a folder; a file that is named is tried whatever its suffix.
IMAGE_SUFFIXES = {'.avif', '.bmp', '.gif', '.jpeg', '.jpg', '.jp2', '.pgm', '.png', '.ppm', '.tif', '.tiff'}
IMAGE_SUFFIXES |= {'.webp'}
# Left behind by macOS in archives and by network drives, with files named like the images they describe.
CLUTTER = {'__MACOSX', '@eaDir'}


def folders_in(place: Path) -> list[str]:
    return sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def images_below(folder: Path) -> Iterator[Path]:
    """Images in a folder and below, also behind links, in an order of their own; hidden ones are none."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=note_left_out):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(place, name) for name in sorted(files) if is_image(name))


def is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def is_hidden(path: str | Path) -> bool:
    return any(part.startswith('.') or part in CLUTTER for part in Path(path).parts)


def note_left_out(error: OSError) -> None:
    warnings.warn(f'{error.filename} is left out: {error.strerror}', stacklevel=2)
