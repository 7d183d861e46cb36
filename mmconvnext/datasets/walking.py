"""List the images in a folder."""

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError

# Suffixes of images in folders; a file given by name is read whatever its suffix.
IMAGE_SUFFIXES = {'.avif', '.bmp', '.gif', '.jpeg', '.jpg', '.jp2', '.pgm', '.png', '.ppm', '.tif', '.tiff'}
IMAGE_SUFFIXES |= {'.npy', '.webp'}
# Files of macOS, network drives and Windows, in lower case.
CLUTTER = {'__macosx', '@eadir', 'thumbs.db', 'ehthumbs.db', 'desktop.ini', 'icon\r'}


# Formats of cameras and phones that this package does not read -> packages that do.
PACKAGES = {'.heic': 'pillow-heif', '.heif': 'pillow-heif', '.jxl': 'pillow-jxl-plugin', '.svg': 'cairosvg'}
PACKAGES |= dict.fromkeys(('.arw', '.cr2', '.cr3', '.dng', '.nef', '.orf', '.raf', '.rw2'), 'rawpy')
PACKAGES |= dict.fromkeys(('.avi', '.mkv', '.mov', '.mp4', '.webm'), 'imageio[ffmpeg]')
PACKAGES |= {'.dcm': 'pydicom'}


def folders_in(place: Path) -> list[str]:
    """Return the sorted names of the visible folders in a folder.

    Raises:
        UserError: the folder cannot be listed.
    """
    try:
        with os.scandir(place) as entries:  # recognizes folders without a system call for each
            return sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))
    except OSError as error:
        raise UserError(f'{place} cannot be listed: {error.strerror}; correct its permissions') from error


def class_folders(place: Path) -> dict[str, Path]:
    """Return class name -> folder, sorted by name.

    Names are in Unicode's composed form (NFC) on every system; archives of macOS contain letters and accents
    separately.

    Raises:
        UserError: the names of two folders are equal in this form.
    """
    found = {}
    for folder in folders_in(place):
        name = unicodedata.normalize('NFC', folder)
        if name in found:
            raise UserError(
                f'{place} has two folders {name}, whose letters are composed differently; move the images '
                'of one into the other'
            )
        found[name] = place / folder
    return dict(sorted(found.items()))


def has_images(place: Path) -> bool:
    """Return whether images are directly in a folder."""
    with os.scandir(place) as entries:
        return any(is_image(entry.name) and not entry.is_dir() for entry in entries)


def images_below(folder: Path, skipped: Counter | None = None) -> Iterator[Path]:
    """Yield the images in a folder and its subfolders, including links, without hidden ones.

    Arrays in a folder with other images are skipped.

    Args:
        folder: folder to search.
        skipped: counter of the suffixes of skipped files.
    """
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=note_left_out):
        real = os.path.realpath(place)
        if real in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        kinds = {Path(name).suffix.lower() for name in files if is_image(name)}
        others = kinds - {'.npy'}  # besides other images, arrays are their masks or features
        for name in sorted(files):
            if is_image(name) and not (others and name.lower().endswith('.npy')):
                yield Path(place, name)
            elif skipped is not None and not is_hidden(name):
                skipped[Path(name).suffix.lower() or 'without a suffix'] += 1


def describe_skipped(skipped: Counter) -> str:
    """Return counts of skipped files by suffix, with the packages that read them."""
    text = ', '.join(f'{count} {suffix}' for suffix, count in skipped.most_common(6))
    if len(skipped) > 6:
        text += ', ...'
    packages = sorted({PACKAGES[suffix] for suffix in skipped if suffix in PACKAGES})
    return text + (
        f'; convert them to JPEG or PNG, with {" and ".join(packages)} for example' if packages else ''
    )


def is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def is_hidden(path: str | Path) -> bool:
    return any(part.startswith('.') or part.lower() in CLUTTER for part in Path(path).parts)


def note_left_out(error: OSError) -> None:
    warnings.warn(f'{error.filename} is left out: {error.strerror}', stacklevel=2)
