"""Your own images: one folder a class."""

import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from mmpretrain.datasets import BaseDataset

from ..checkpoints.matching import listed
from ..errors import UserError
from ..registry import DATASETS
from .walking import IMAGE_SUFFIXES, folders_in, images_below, is_hidden, is_image

VALIDATION = ('val', 'valid', 'validation')
SPLITS = {'train', *VALIDATION, 'test'}


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Images sorted into one folder a class, in a folder for every split or in a single one.

    ``data_root`` holds ``train/`` and ``val/`` (or ``valid/``, ``validation/``), and ``test/`` if there
    is one, each with a folder for every class; or the folders of the classes directly. Without a folder
    for validation, a part of every class is held out for it. Folders inside a class's folder belong to
    the class. Hidden files and folders are passed over.

    The classes are the training folders, sorted by name, whatever the split. Which images are held out
    depends on their path from the class's folder on and on nothing else, so it is the same everywhere
    and new images leave the old ones where they are; only where chance would leave one side of a class
    empty, the nearest image goes there.

    Args:
        data_root: the folder.
        split: ``train``, ``val`` or ``test``; without a folder ``test/``, test is the same as val.
        held_out: about this part of every class, above 0 and at most 1, is for validation where there is
            no folder for it; 1 leaves nothing to train on, to test on a folder as a whole.
        classes: their names in the order of the labels, as of a trained model; None: the training folders.
        **kwargs: of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: what the folder has, what was expected and what to do.
    """

    def __init__(
        self,
        data_root: str | Path,
        split: str,
        held_out: float = 0.2,
        classes: Sequence[str] | None = None,
        **kwargs,
    ):
        if split not in ('train', 'val', 'test'):
            raise UserError(f'ImageFolder has no split {split!r}; choose train, val or test')
        if not 0 < held_out <= 1:
            raise UserError(f'held_out is {held_out}; it should be above 0 and at most 1')
        root = Path(data_root).expanduser()
        if not root.is_dir():
            raise UserError(
                f'data_root {data_root} is not a folder; name the one with your images with --data-root'
            )
        self.split, self.held_out = split, held_out
        self.training, self.place, self.shared = find_split(root, split)
        super().__init__(
            ann_file='',
            data_root=str(root),
            classes=tuple(classes) if classes else training_classes(root, self.training),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        labels = {name: label for label, name in enumerate(self.metainfo['classes'])}
        found = folders_in(self.place)
        self.check_known(found, labels)
        samples = [
            dict(img_path=str(path), gt_label=labels[name])
            for name in found
            for path in self.images_of(self.place / name)
        ]
        if not samples:
            raise UserError(
                f'{self.place} has no images for the split {self.split}'
                + (
                    f' beside the {1 - self.held_out:.0%} of every class that are for the other; '
                    'every class needs two images or more'
                    if self.shared
                    else f'; expected {", ".join(sorted(IMAGE_SUFFIXES))} in {self.place}/CLASS/'
                )
            )
        return samples

    def check_known(self, found: Iterable[str], labels: dict[str, int]) -> None:
        unknown = [name for name in found if name not in labels]
        if unknown:
            raise UserError(
                f'{self.place} has {count(unknown, "class folder")} that the model does not learn or know: '
                f'{listed(unknown)}; its {len(labels)} classes are {listed(list(labels))}. '
                'Take the folders out, or correct their names'
            )
        stray = sum(is_image(entry.name) for entry in self.place.iterdir() if not entry.is_dir())
        if stray:
            warnings.warn(
                f'{stray} images directly in {self.place} are left out: they are in the folder of no class',
                stacklevel=2,
            )

    def images_of(self, folder: Path) -> list[Path]:
        """Those of a class that are in this split."""
        images = sorted(images_below(folder))
        if self.split == 'train' and not images:
            raise UserError(
                f'the class folder {folder} is empty: put images there '
                f'({", ".join(sorted(IMAGE_SUFFIXES))}), or delete it if it is no class'
            )
        if not self.shared:
            return images
        paths = {image: image.relative_to(self.place).as_posix() for image in images}
        chosen = held_out_of(paths.values(), self.held_out)
        return [image for image, path in paths.items() if (path in chosen) == (self.split != 'train')]


def find_split(root: Path, split: str) -> tuple[Path | None, Path, bool]:
    """Where the classes are told, where the split's images are, and whether it shares them with another."""
    if not has_splits(root):
        return root, root, True
    folders = set(folders_in(root))
    training = root / 'train' if 'train' in folders else None
    validation = next((root / name for name in VALIDATION if name in folders), None)
    own = root / 'test' if split == 'test' and 'test' in folders else validation
    if split == 'train' or own is None:
        if training is None:
            raise UserError(
                f'{root} has {", ".join(sorted(folders))}, but no folder for {split}; expected train/ and '
                'val/, each with one folder a class, or the folders of the classes directly'
            )
        return training, training, validation is None
    return training, own, False


def has_splits(root: Path) -> bool:
    """Whether the folders in it are splits. A class may be called train, too: then it has images inside."""
    folders = set(folders_in(root))
    if folders <= SPLITS:
        return bool(folders)
    if 'train' not in folders:
        return False
    inside = [entry for entry in (root / 'train').iterdir() if not is_hidden(entry.name)]
    return any(entry.is_dir() for entry in inside) and not any(is_image(entry.name) for entry in inside)


def training_classes(root: Path, training: Path | None) -> tuple[str, ...]:
    if training is None:
        raise UserError(
            f'{root} has no folder train/, whose folders would tell the classes; put the training images '
            'there, or test a checkpoint that names its classes'
        )
    classes = folders_in(training)
    if len(classes) > 1:
        return tuple(classes)
    if any(is_image(entry.name) for entry in training.iterdir()):
        raise UserError(
            f'{training} has images but not two folders of classes; sort them into one folder a class: '
            f'{training}/cat/1.jpg, {training}/dog/2.jpg'
        )
    raise UserError(
        f'{training} has {count(classes, "class folder")}{f" ({classes[0]})" if classes else ""}; expected '
        'two or more, each with the images of one class'
    )


def held_out_of(paths: Iterable[str], part: float) -> set[str]:
    """About this part of a class's images; one at least is left to train on, a second one held out."""
    places = {path: place_of(path) for path in paths}
    chosen = {path for path, place in places.items() if place < part}
    if places and part < 1:
        if len(chosen) == len(places):
            chosen.remove(max(places, key=places.get))
        elif not chosen and len(places) > 1:
            chosen = {min(places, key=places.get)}
    return chosen


def place_of(path: str) -> float:
    """A number in [0, 1) that the path alone decides."""
    # macOS writes letters and their accents apart.
    name = unicodedata.normalize('NFC', path).encode(errors='surrogateescape')
    return int.from_bytes(sha256(name).digest()[:6]) / 2**48


def count(things: Sequence, what: str) -> str:
    return f'{len(things) or "no"} {what}{"s" * (len(things) != 1)}'
