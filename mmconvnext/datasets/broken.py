"""Find the images of a dataset that its pipeline cannot read."""

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from mmengine.dataset import BaseDataset
from PIL import Image
from tqdm import tqdm

from ..errors import UserError
from ..files import open_regular, written_whole
from ..images.array_file import MAGIC
from ..images.pillow_limit import pillow_limit
from ..images.reader import JPEG_END, PNG_END, ImageReader, check_file
from ..memory import budget
from .annotations import is_local

# Bytes at the end of a complete file.
END_MARKS = {'JPEG': JPEG_END, 'MPO': JPEG_END, 'PNG': PNG_END}
TAIL = 4096  # bytes that are searched for them, because padding may follow
THREADS = 8  # most of the time is spent waiting for the disk
MAX_SECONDS = 30


def find_broken(dataset: BaseDataset, memory: Path) -> dict[str, str]:
    """Return path -> reason for the images that the dataset cannot read.

    JPEG and PNG files with a valid header and end count as intact, and so do files that Pillow decodes,
    unless they are too large; all others are passed through the pipeline. After ``MAX_SECONDS``, the rest is
    left to the next call.

    Args:
        dataset: dataset whose images are checked, if they are local files.
        memory: folder in which intact files are recorded by path, size and time.
    """
    paths = {}
    for index in range(len(dataset)):
        path = dataset.get_data_info(index).get('img_path')
        if isinstance(path, str) and is_local(path):
            paths.setdefault(path, index)
    digest = sha256('\0'.join(sorted(paths)).encode(errors='surrogateescape')).hexdigest()
    memory = memory / f'{digest[:16]}.json'
    known = recall(memory)
    end = time.monotonic() + MAX_SECONDS
    whole, broken = [], {}
    bar = tqdm(total=len(paths), desc='images', delay=1, disable=None)  # unless stderr is a terminal
    pool = ThreadPoolExecutor(THREADS)
    try:
        states = pool.map(lambda path: None if time.monotonic() > end else state_of(path, known), paths)
        for (path, index), state in zip(paths.items(), states, strict=True):
            bar.update()
            if state:
                whole.append(state)
            elif state is not None and time.monotonic() < end:
                reason = why_unreadable(dataset, index)
                if reason is not None:
                    broken[path] = reason
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    if not known.issuperset(whole):
        remember(memory, sorted(known.union(whole)))
    return broken


def state_of(path: str, known: set[str]) -> str:
    """Return a digest of path, size and time of an intact image file; empty if it may be broken."""
    try:
        about = Path(path).stat()
        text = f'{os.path.realpath(path)}\0{about.st_size}\0{about.st_mtime_ns}'
        state = sha256(text.encode(errors='surrogateescape')).hexdigest()[:16]
        if state not in known:
            check_whole(path, about.st_size)
        return state
    except Exception:  # decoders raise any exception
        return ''


def check_whole(path: str, size: int) -> None:
    with open_regular(path) as file:
        if file.read(len(MAGIC)) == MAGIC:
            file.seek(0)
            ImageReader('unchanged').from_bytes(file.read())
            return
        file.seek(0)
        check_encoded(file, size)


def check_encoded(file: BinaryIO, size: int) -> None:
    reader = ImageReader()
    with pillow_limit.at_least(reader.max_pixels), Image.open(file) as image:
        reader.check_size(*image.size, image.format)
        end = END_MARKS.get(image.format)
        if end is not None:
            if image.info.get('progressive'):
                check_file(image)
            header = file.tell()
            file.seek(max(0, size - TAIL))
            if file.read().rstrip(b'\0').endswith(end):
                return
            file.seek(header)
        with budget.taken(math.prod(image.size)):
            image.load()


def why_unreadable(dataset: BaseDataset, index: int) -> str | None:
    try:
        return None if dataset[index] is not None else 'the pipeline gives nothing'
    except Exception as error:  # transforms raise any exception
        return str(error) or type(error).__name__


def recall(memory: Path) -> set[str]:
    try:
        with open_regular(memory) as file:
            content = json.load(file)
    except (OSError, UserError, ValueError):
        return set()
    return {state for state in content if isinstance(state, str)} if isinstance(content, list) else set()


def remember(memory: Path, states: list[str]) -> None:
    try:
        with written_whole(memory) as part:
            part.write_text(json.dumps(states))
    except (OSError, UserError):  # a full or read-only cache costs only the time of the next check
        return
