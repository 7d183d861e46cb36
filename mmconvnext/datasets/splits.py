"""Find the folders of training, validation and test images."""

import re
import unicodedata
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .walking import folders_in, has_images

NAMES = {
    **dict.fromkeys(('train', 'training', 'trainset'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'valset', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing', 'testset'), 'test'),
}
# Words without meaning in the name of a split: train_set, test-images.
FILLERS = {'data', 'dataset', 'folder', 'image', 'images', 'img', 'imgs', 'set', 'split'}
MAX_NESTING = 3  # folders around the data, as in archives: data/data/train
MAX_SHOWN = 12  # folders of a level in an error message


class Layout(NamedTuple):
    """The folders of a dataset.

    Attributes:
        place: folder of the classes or the splits.
        splits: ``train``, ``val`` and ``test`` -> folder; empty if ``place`` contains the classes.
    """

    place: Path
    splits: dict[str, Path]

    @property
    def classes(self) -> Path | None:
        """The folder with one folder per training class, or None without a training split."""
        return self.splits.get('train') if self.splits else self.place


def find_layout(root: Path) -> Layout:
    """Find the splits or classes in a folder, or in the only folder inside it.

    Raises:
        UserError: some folders look like splits, but their purpose is ambiguous.
    """
    place = root
    for _ in range(MAX_NESTING):
        folders = folders_in(place)
        splits = splits_among(place, folders)
        if splits:
            return Layout(place, {role: inside(folder) for role, folder in splits.items()})
        if len(folders) != 1 or has_images(place) or not folders_in(place / folders[0]):
            break
        place = place / folders[0]
    check_no_splits_below(root, place)
    return Layout(place, {})


def splits_among(place: Path, folders: list[str]) -> dict[str, Path]:
    """Return split -> folder for folders whose names differ only in the split."""
    groups = defaultdict(lambda: defaultdict(list))
    for name in folders:
        if found := split_name(name):
            role, others = found
            groups[others][role].append(name)
    pairs = [group for group in groups.values() if len(group) > 1]
    if not pairs:
        pairs = [
            group for others, group in groups.items() if not others and stands_alone(place, group, folders)
        ]
    if not pairs:
        return {}
    # Besides train_masks and test_masks, train and test are the images.
    group = groups[()] if groups.get(()) in pairs else pairs[0]
    if len(pairs) > 1 and group is not groups.get(()):
        raise unclear(place, 'has several sets of folders for training and test')
    for role, names in group.items():
        if len(names) > 1:
            raise unclear(place, f'has {len(names)} folders for {role} ({", ".join(names)})')
    return {role: place / names[0] for role, names in group.items()}


def split_name(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the split in the name of a folder and the other words of the name, or None."""
    # Split camel case and numbers: imagesTrain, val2017.
    name = re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', unicodedata.normalize('NFC', name))
    name = name.casefold()
    words = re.findall(r'[^\W\d_]+', name)
    found = [word for word in words if word in NAMES]
    if len(found) != 1:
        return None
    return NAMES[found[0]], tuple(word for word in words if word not in NAMES and word not in FILLERS)


def stands_alone(place: Path, group: dict[str, list[str]], folders: list[str]) -> bool:
    """Return whether folders for a single split are a split, and not a class with such a name.

    Raises:
        UserError: this is ambiguous.
    """
    (role, names) = next(iter(group.items()))
    with_images = any(has_images(place / name) for name in names)
    with_folders = any(folders_in(place / name) for name in names)
    if len(names) == len(folders) or (role == 'train' and with_folders and not with_images):
        return True
    if role == 'train':  # a class besides bus and ship
        return False
    others = [name for name in folders if name not in names]
    raise unclear(
        place,
        f'has a folder for {role} ({", ".join(names)}) beside {", ".join(others[:3])}, but none for train',
    )


def inside(split: Path) -> Path:
    """Return the folder with the classes of a split, which archives often nest: seg_train/seg_train."""
    for _ in range(MAX_NESTING):
        folders = folders_in(split)
        if len(folders) != 1 or has_images(split):
            break
        (name,) = folders
        same = name.casefold() == split.name.casefold() or split_name(name) == split_name(split.name)
        if not (same or name.casefold() in FILLERS) or not folders_in(split / name):
            break
        split = split / name
    return split


def check_no_splits_below(root: Path, place: Path) -> None:
    """Raise if class folders contain splits, because test images would be used for training."""
    for name in folders_in(place)[:MAX_SHOWN]:
        found = {split_name(below)[0] for below in folders_in(place / name) if split_name(below)}
        if len(found) > 1:
            raise unclear(
                root,
                f'has folders for {" and ".join(sorted(found))} inside {name}/, as if that were a class',
            )


def unclear(place: Path, what: str) -> UserError:
    return UserError(
        f'{place} {what}; expected train/ and val/, each with one folder per class, or the folders of the '
        f'classes directly. Rename or move them. The folder holds:\n{tree(place)}'
    )


def tree(place: Path, depth: int = 2, indent: str = '    ') -> str:
    """List the folders inside a folder, one per line, at most ``MAX_SHOWN`` per level."""
    lines = []
    folders = folders_in(place)
    for name in islice(folders, MAX_SHOWN):
        lines.append(f'{indent}{name}/')
        if depth > 1 and (below := tree(place / name, depth - 1, indent + '    ')):
            lines.append(below)
    if len(folders) > MAX_SHOWN:
        lines.append(f'{indent}... and {len(folders) - MAX_SHOWN} more')
    return '\n'.join(lines)
