"""A dataset of your own images, in one folder per class."""

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from mmpretrain.datasets import BaseDataset

from ..errors import UserError
from ..registry import DATASETS
from ..text import counted, listed
from .splits import Layout, find_layout, tree
from .walking import IMAGE_SUFFIXES, class_folders, describe_skipped, has_images, images_below, is_image


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Images in one folder per class, with or without a folder for every split.

    ``data_root`` contains ``train/``, ``val/`` and optionally ``test/``, each with one folder per class; or
    it contains the folders of the classes directly. Case and common variants of the names (``Training``,
    ``valid``, ``seg_test``) make no difference, and a single folder around everything is skipped, see
    ``find_layout``. Without a folder for validation, a part of every class is held out. Subfolders of a class
    belong to the class. Hidden files and folders are ignored.

    The classes are the training folders, sorted by name, for every split. Which images are held out depends
    only on their paths relative to ``data_root``, so it is the same everywhere. If images are added, at most
    as many of the others change sides as were added.

    Args:
        data_root: folder of the dataset.
        split: ``train``, ``val`` or ``test``; without a folder ``test/``, test uses the images of val.
        held_out: fraction of every class, above 0 and at most 1, that is used for validation if there is no
            folder for it; at least one image, and at most half of them unless the fraction is larger. With 1,
            the whole folder is used for validation or test.
        classes: class names in the order of the labels, for example of a trained model; None: the training
            folders.
        **kwargs: arguments of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: the folder has another layout, a class is empty or unknown, or there are no images.
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
        check_root(root)
        self.split, self.held_out = split, held_out
        self.available = 0  # images of this split and of the split that shares the folder
        layout = find_layout(root)
        self.place, self.shared = find_split(layout, split)
        super().__init__(
            ann_file='',
            data_root=str(root),
            classes=tuple(classes) if classes else training_classes(layout),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        labels = {
            unicodedata.normalize('NFC', str(name)): label
            for label, name in enumerate(self.metainfo['classes'])
        }
        found = class_folders(self.place)
        self.check_known(found, labels)
        skipped, samples, without = Counter(), [], []
        for name, folder in found.items():
            images = self.images_of(folder, skipped)
            samples += [dict(img_path=str(path), gt_label=labels[name]) for path in images]
            if not images:
                without.append(name)
        if skipped:
            warnings.warn(
                f'skipped {counted(skipped.total(), "file")} in {self.place} that cannot be read as an '
                f'image: {describe_skipped(skipped)}',
                stacklevel=2,
            )
        if not samples:
            raise UserError(
                f'{self.place} has no images for the split {self.split}'
                + (
                    ': every class has one image, so none can be held out for validation; add images, make '
                    'train/ and val/ yourself, or train with --no-validate'
                    if self.shared and self.split != 'train'
                    else f'; expected {", ".join(sorted(IMAGE_SUFFIXES))} in {self.place}/CLASS/'
                )
            )
        if self.shared and without and self.split != 'train':
            warnings.warn(
                f'{self.place} has one image only of {listed(without)}; none is '
                f'held out for {self.split}, so how well they are recognized stays unknown',
                stacklevel=2,
            )
        return samples

    def check_known(self, found: Iterable[str], labels: dict[str, int]) -> None:
        unknown = [name for name in found if name not in labels]
        if unknown:
            raise UserError(
                f'{self.place} has {counted(len(unknown), "class folder")} that the model does not learn or '
                f'know: {listed(unknown)}; it has {counted(len(labels), "class")}: {listed(list(labels))}. '
                'Take the folders out, or correct their names'
            )
        stray = sum(is_image(entry.name) for entry in self.place.iterdir() if not entry.is_dir())
        if stray:
            warnings.warn(
                f'left out {counted(stray, "image")} directly in {self.place}: only folders of classes are '
                'read',
                stacklevel=2,
            )

    def images_of(self, folder: Path, skipped: Counter) -> list[Path]:
        """Return the images of a class in this split, and count skipped files."""
        others = Counter()
        images = sorted(images_below(folder, others))
        self.available += len(images)
        skipped.update(others)
        if self.split == 'train' and not images:
            what = f'has no images, but {describe_skipped(others)}' if others else 'is empty'
            raise UserError(
                f'the class folder {folder} {what}: put images there '
                f'({", ".join(sorted(IMAGE_SUFFIXES))}), or delete it if it is no class'
            )
        if not self.shared:
            return images
        paths = {image: image.relative_to(self.place).as_posix() for image in images}
        chosen = held_out_of(paths.values(), self.held_out)
        return [image for image, path in paths.items() if (path in chosen) == (self.split != 'train')]


def check_root(root: Path) -> None:
    if root.is_dir():
        return
    kind = 'is a file, not a folder' if root.is_file() else 'is not a folder'
    cure = 'name the one with your images with --data-root'
    if root.suffix.lower() in ('.zip', '.tar', '.gz', '.tgz', '.7z', '.rar') and root.is_file():
        cure = 'unpack it, and name the folder with --data-root'
    raise UserError(f'data_root {root} {kind}; {cure}')


def find_split(layout: Layout, split: str) -> tuple[Path, bool]:
    """Return the folder of a split, and whether it is shared with another split."""
    place, splits = layout
    if not splits:
        return place, True
    validation = splits.get('val')
    own = splits.get('test', validation) if split == 'test' else validation
    if split != 'train' and own is not None:
        return own, False
    if 'train' not in splits:
        raise UserError(
            f'{place} has {", ".join(sorted(folder.name for folder in splits.values()))}, but no folder for '
            f'{split}; expected train/ and val/, each with one folder per class, or the folders of the '
            'classes directly'
        )
    return splits['train'], validation is None


def training_classes(layout: Layout) -> tuple[str, ...]:
    training = layout.classes
    if training is None:
        raise UserError(
            f'{layout.place} has no folder train/, whose folders define the classes; put the training '
            'images there, or test a checkpoint that names its classes'
        )
    classes = tuple(class_folders(training))
    if len(classes) > 1:
        return classes
    if has_images(training):
        raise UserError(
            f'{training} has images but not two folders of classes; sort them into one folder per class: '
            f'{training}/cat/1.jpg, {training}/dog/2.jpg'
        )
    held = f'. {layout.place} holds:\n{tree(layout.place)}' if classes else ''
    name = f' ({classes[0]})' if classes else ''
    raise UserError(
        f'{training} has {counted(len(classes), "class folder")}{name}; expected '
        f'two or more, each with the images of one class{held}'
    )


def held_out_of(paths: Iterable[str], part: float) -> set[str]:
    """Return the held-out images of a class: at least one, leaving at least one for training."""
    paths = sorted(paths, key=lambda path: (split_position(path), path))
    if part == 1:
        return set(paths)
    most = len(paths) // 2 if part <= 0.5 else len(paths) - 1
    return set(paths[: max(0, min(most, max(1, round(len(paths) * part))))])


def split_position(path: str) -> float:
    """Return a number in [0, 1) that depends only on the path."""
    # macOS stores letters and accents separately.
    name = unicodedata.normalize('NFC', path).encode(errors='surrogateescape')
    return int.from_bytes(sha256(name).digest()[:6]) / 2**48
