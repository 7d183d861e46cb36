"""Annotation files of mmpretrain's datasets, checked line by line."""

import json
import os
import unicodedata
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import mmengine.dataset
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.custom import find_folders

from ..errors import UserError
from ..files import open_regular
from ..text import counted, listed

MAX_LINE = 8192  # characters; paths cannot be longer
MAX_LABEL_DIGITS = 9
MIN_CONTAINER_BYTES = 24  # bytes per object or list; a sample has 30 or more
MAX_PATHS_CHECKED = 1000  # checking every file of a large dataset takes minutes on some disks


def numbers_folders(dataset: object) -> bool:
    """Return whether a dataset numbers its labels by the order of its folders."""
    return isinstance(dataset, CustomDataset) and not dataset.ann_file and dataset.with_label


def load_by_name(dataset: CustomDataset) -> list[dict]:
    """Load samples from folders, whose labels are the positions of their names among the known classes.

    If no folder has the name of a class, such as English names for ImageNet, labels number the folders.
    """
    known = dataset.metainfo.get('classes')
    load = type(dataset).load_data_list
    if known is None or unknown_folders(dataset, known):
        return load(dataset)
    folders, _ = find_folders(dataset.img_prefix)
    label_of = {normal(name): label for label, name in enumerate(known)}
    del dataset._metainfo['classes']  # otherwise the numbers of folders and classes would be compared
    samples = load(dataset)
    dataset._metainfo['classes'] = known
    for sample in samples:
        sample['gt_label'] = label_of[normal(folders[sample['gt_label']])]
    return samples


def unknown_folders(dataset: CustomDataset, classes: Sequence[str]) -> list[str]:
    known = {normal(name) for name in classes}
    folders, _ = find_folders(dataset.img_prefix)
    return [name for name in folders if normal(name) not in known]


def check_folders(dataset: CustomDataset, classes: Sequence[str], field: str) -> None:
    """Raise UserError if a folder is not a class of the model."""
    unknown = unknown_folders(dataset, classes)
    if unknown:
        raise UserError(
            f'{field}.dataset: {dataset.img_prefix} has folders that are no classes of the model: '
            f'{listed(unknown)}; it has {counted(len(classes), "class")}: {listed(list(classes))}. '
            'Take them out, or correct their names'
        )


def normal(name: str) -> str:
    return unicodedata.normalize('NFC', str(name))


def load_lines(dataset: CustomDataset, num_classes: int | None) -> list[dict]:
    """Load samples from lines ``FILE LABEL``; empty lines are ignored.

    Raises:
        UserError: a line is invalid; the message has file, line and the expected form.
    """
    path = Path(dataset.ann_file)
    samples, missing = [], []
    form = f'FILE LABEL with a number from 0 to {num_classes - 1 if num_classes else "N-1"}'
    prefix, in_folder = str(dataset.img_prefix), is_local(dataset.img_prefix)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().replace('\t', ' ').rpartition(' ')
        known = is_number(label)
        too_large = known and (len(label) > MAX_LABEL_DIGITS or num_classes and int(label) >= num_classes)
        if len(line) > MAX_LINE or not name or not known or too_large:
            hint = ''
            if len(line) > MAX_LINE:
                hint = f'; it has {len(line):,} characters'
            elif ',' in line and not known:
                hint = '; separate them by a space, not a comma'
            elif name and not known:
                hint = '; replace names of classes by their numbers'
            elif name and num_classes:
                hint = f'; the model has {num_classes} classes'
            raise UserError(f'{quoted_line(path, number, line)} is not of the form {form}{hint}')
        name = name.strip()
        image = os.path.join(prefix, name) if in_folder else f'{prefix}/{name}'  # noqa: PTH118, 10x faster
        # os.path also accepts names that no system can have
        if len(samples) < MAX_PATHS_CHECKED and is_local(image) and not os.path.exists(image):  # noqa: PTH110
            missing.append((quoted_line(path, number, line), image[:200]))
        samples.append(dict(img_path=image, gt_label=int(label)))
    if not samples:
        raise UserError(f'{path} names no image; expected lines of the form {form}')
    if missing:
        place, image = missing[0]
        hint = '; write paths with / in place of \\' if '\\' in image and os.sep == '/' else ''
        raise UserError(
            f'{place}: there is no file {image}{hint}. Of the first {min(len(samples), MAX_PATHS_CHECKED)} '
            f'images {len(missing)} are missing; correct the paths, data_root or data_prefix'
        )
    return samples


def quoted_line(path: Path, number: int, line: str) -> str:
    return f'{path}, line {number}: {line.strip()[:200]!r}'


def is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def read_text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return file.read().decode('utf-8-sig')
    except OSError as error:
        raise UserError(f'the annotation file {path} cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise UserError(f'the annotation file {path} is not UTF-8 text: {error}') from error


def is_openmmlab(dataset: object) -> bool:
    """Return whether a dataset reads OpenMMLab's JSON format."""
    return type(dataset).load_data_list is mmengine.dataset.BaseDataset.load_data_list


def check_json(path: Path, num_classes: int | None) -> None:
    """Raise UserError unless a file has OpenMMLab's annotation format."""
    form = (
        'expected {"metainfo": {"classes": [...]}, "data_list": [{"img_path": "a.jpg", "gt_label": 0}]}, '
        f'labels from 0 to {num_classes - 1 if num_classes else "N-1"}, or lists of them; or "gt_score" '
        'with a list of a number for each output'
    )
    try:
        text = read_text(path)
        if max(map(text.count, '[{')) > len(text) / MIN_CONTAINER_BYTES + 100:
            raise ValueError('more of it are brackets than in any annotations')
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is no JSON: {error}; {form}') from error
    if not isinstance(content, dict) or not {'metainfo', 'data_list'} <= content.keys():
        found = f'the keys {listed(list(content))}' if isinstance(content, dict) else 'no object'
        raise UserError(f'{path} has {found} at its top; {form}')
    if not isinstance(content['metainfo'], dict) or not isinstance(content['data_list'], list):
        raise UserError(f'{path}: metainfo is no object or data_list no list; {form}')
    for number, sample in enumerate(content['data_list']):
        if not isinstance(sample, dict) or not isinstance(sample.get('img_path'), str):
            good = False
        elif 'gt_score' in sample and 'gt_label' not in sample:
            good = are_scores(sample['gt_score'], num_classes)
        else:
            label = sample.get('gt_label')
            labels = label if isinstance(label, list) else [label]
            good = all(type(each) is int and 0 <= each < (num_classes or each + 1) for each in labels)
        if not good:
            raise UserError(f'{path}: data_list[{number}] is {str(sample)[:200]}; {form}')


def are_scores(found: object, num_classes: int | None) -> bool:
    """Return whether a value is a list with a finite number per output; regression has one output."""
    return (
        isinstance(found, list)
        and len(found) == (num_classes or 1)
        and all(type(each) in (int, float) and isfinite(each) for each in found)
    )


def is_local(path: str | os.PathLike) -> bool:
    return '://' not in str(path)
