"""Pack an image folder into tar shards."""

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from webdataset import TarWriter

from ..errors import UserError
from ..files import put_in_place, written_whole
from ..text import counted
from .shard_index import INDEX, UNFINISHED, Shard, ShardIndex
from .splits import find_layout, unclear
from .walking import IMAGE_SUFFIXES, class_folders, images_below

UNITS = {'': 1, 'KB': 10**3, 'MB': 10**6, 'GB': 10**9, 'TB': 10**12}
# Tar format: headers and data fill blocks, and a file fills records; two empty blocks mark its end.
BLOCK, RECORD = 512, 10_240


class Image(NamedTuple):
    """An image file: its path relative to the folder, its label and its size in bytes."""

    path: str
    label: int
    size: int

    @property
    def size_in_tar(self) -> int:
        return 3 * BLOCK + rounded_up(self.size, BLOCK)  # the label has a header and one block


class Plan(NamedTuple):
    """The content of the index, and the images of each shard."""

    index: ShardIndex
    members: list[list[Image]]


def make_shards(
    image_folder: str | Path,
    out: str | Path,
    *,
    max_size: str | None = None,
    per_shard: int | None = None,
    workers: int = 4,
) -> ShardIndex:
    """Pack the images of a folder into tar shards, in a reproducible random order.

    The image files are copied unchanged. If the function is interrupted and called again, it writes the
    missing shards; the result is the same as without the interruption. ``index.json`` is written last.

    Args:
        image_folder: folder with one folder per class; labels are those of mmpretrain's ``CustomDataset``.
        out: new folder, or one of an interrupted call.
        max_size: maximum size of a shard, such as ``1GB`` (10^9 bytes, the default) or ``500MB``; a larger
            image gets its own shard.
        per_shard: maximum number of images per shard, instead of ``max_size``.
        workers: number of shards written in parallel.

    Raises:
        UserError: the folder has no classes or images, or ``out`` contains something else or has too little
            space.
    """
    image_folder, out = Path(image_folder), Path(out)
    if not image_folder.is_dir():
        raise UserError(f'{image_folder} is not a folder; name one that holds one folder per class')
    if out.resolve().is_relative_to(image_folder.resolve()):
        raise UserError(
            f'{out} is inside {image_folder}, where it would be taken for a class; name another folder'
        )
    if out.exists() and not out.is_dir():
        raise UserError(f'{out} is a file; name a new folder')
    if max_size is not None and per_shard is not None:
        raise UserError('--max-size and --per-shard exclude each other; leave one out')
    for option, number in (('--per-shard', per_shard), ('--workers', workers)):
        if number is not None and number < 1:
            raise UserError(f'{option} is {number}; it should be at least 1')
    limit = bytes_of(max_size or '1GB')

    print(f'Listing the images in {image_folder}', flush=True)
    plan = plan_shards(*list_images(image_folder), limit=limit, per_shard=per_shard)
    done = check_out(out, image_folder, plan.index)
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / '.lock')
    try:
        with lock.acquire(timeout=0):
            if not done:
                with written_whole(out / UNFINISHED) as part:
                    part.write_text(plan.index.to_json())
                write_missing(plan, image_folder, out, workers)
                put_in_place(out / UNFINISHED, out / INDEX)
            # A lock file would be copied together with the shards.
            Path(lock.lock_file).unlink()
    except Timeout as error:
        raise UserError(f'another make_shards writes to {out}; wait until it is done') from error
    print(f'{out} holds {counted(plan.index.samples, "image")} in {counted(len(plan.index.shards), "shard")}')
    return plan.index


def bytes_of(size: str) -> int:
    found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([KMGT]?B)?', size.strip().upper())
    if not found or float(found[1]) == 0:
        raise UserError(f'--max-size {size} is not a size; write it as 1GB or 500MB')
    return int(float(found[1]) * UNITS[found[2] or ''])


def rounded_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def list_images(folder: Path) -> tuple[list[str], list[Image]]:
    """Return the classes and images that ``ImageFolder`` finds, in its order."""
    layout = find_layout(folder)
    if layout.splits:
        raise unclear(folder, f'holds splits ({", ".join(layout.splits)}), which would become classes')
    if layout.place != folder:
        raise UserError(f'{folder} holds a single folder; the classes are in {layout.place}, name that one')
    classes = class_folders(folder)
    images = [
        Image(str(path.relative_to(folder)), label, path.stat().st_size)
        for label, place in enumerate(classes.values())
        for path in sorted(images_below(place))
    ]
    if not images:
        raise UserError(
            f'{folder} has no images in {counted(len(classes), "folder")}; it should have one folder per '
            f'class, with files that end in {", ".join(sorted(IMAGE_SUFFIXES))}'
        )
    return list(classes), images


def plan_shards(classes: list[str], images: list[Image], *, limit: int, per_shard: int | None) -> Plan:
    """Assign images to shards; with ``per_shard``, the limit in bytes is ignored."""
    listing = hashlib.sha256()
    for image in images:
        listing.update(f'{image.path}\0{image.label}\0{image.size}\n'.encode(errors='surrogateescape'))
    members, filled = [[]], 2 * BLOCK
    # Permutations of RandomState are the same in all versions of NumPy.
    for i in np.random.RandomState(0).permutation(len(images)):
        image = images[i]
        size = rounded_up(filled + image.size_in_tar, RECORD)
        is_full = len(members[-1]) == per_shard if per_shard else size > limit
        if is_full and members[-1]:
            members.append([])
            filled = 2 * BLOCK
        members[-1].append(image)
        filled += image.size_in_tar
    shards = [
        Shard(
            f'{number:06d}.tar',
            len(group),
            rounded_up(2 * BLOCK + sum(image.size_in_tar for image in group), RECORD),
        )
        for number, group in enumerate(members)
    ]
    return Plan(ShardIndex(listing.hexdigest(), tuple(classes), tuple(shards)), members)


def check_out(out: Path, image_folder: Path, index: ShardIndex) -> bool:
    """Return whether the shards are complete; raise if the folder has other files or the disk is full."""
    for name in (INDEX, UNFINISHED):
        if (out / name).is_file():
            if (out / name).read_text() != index.to_json():
                raise UserError(
                    f'{out} holds shards of other images than are in {image_folder} now, or of another size; '
                    'name a new folder, or delete this one'
                )
            if name == INDEX:
                return True
            break
    else:
        if out.is_dir() and any(not file.name.startswith('.') for file in out.iterdir()):
            raise UserError(
                f'{out} is not empty, and nothing in it says that make_shards began there; name a new folder'
            )
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    needed = sum(shard.size for shard in index.shards if not (out / shard.name).is_file())
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UserError(
            f'the shards need {needed / 1e9:,.1f} GB, and the disk of {out} has {free / 1e9:,.1f} GB left; '
            'free some, or choose a folder on another disk'
        )
    return False


def write_missing(plan: Plan, image_folder: Path, out: Path, workers: int) -> None:
    """Write the missing shards in parallel."""
    firsts = np.cumsum([0, *(shard.samples for shard in plan.index.shards)])
    stop = threading.Event()
    todo = [i for i, shard in enumerate(plan.index.shards) if not (out / shard.name).is_file()]
    total = sum(shard.size for shard in plan.index.shards)
    console = Console(stderr=True)
    columns = (TextColumn('Writing shards'), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(workers) as pool,
    ):
        left = sum(plan.index.shards[i].size for i in todo)
        task = progress.add_task('', total=total, completed=total - left)

        def write(i: int) -> Shard:
            shard = plan.index.shards[i]
            for size in write_shard(image_folder, plan.members[i], int(firsts[i]), out / shard.name):
                progress.advance(task, size)
                if stop.is_set():
                    break
            return shard

        try:
            writing = [pool.submit(write, i) for i in todo]
            for done, future in enumerate(as_completed(writing), len(plan.index.shards) - len(todo) + 1):
                shard = future.result()
                if not console.is_terminal:
                    print(f'{shard.name} written, {done:,} of {len(plan.index.shards):,} shards', flush=True)
        except OSError as error:
            raise UserError(
                f'{error}. The shards in {out} that are complete are kept; start again to continue'
            ) from error
        finally:
            # After Ctrl-C or a full disk, all writers stop at their next image.
            stop.set()
            pool.shutdown(cancel_futures=True)


def write_shard(image_folder: Path, images: list[Image], first: int, file: Path) -> Iterator[int]:
    """Write a shard atomically, and yield the size of each image after writing it.

    Raises:
        OSError: reading or writing failed.
        UserError: an image has changed since it was listed.
    """
    part = file.with_name(f'.{file.name}.part')
    try:
        # With the time, each run would write a different file.
        with part.open('wb') as stream, TarWriter(stream, encoder=False, mtime=0) as tar:
            for number, image in enumerate(images, first):
                content = (image_folder / image.path).read_bytes()
                if len(content) != image.size:
                    raise UserError(
                        f'{image_folder / image.path} had {image.size:,} bytes when this began and has '
                        f'{len(content):,} now; leave the images alone while shards are made'
                    )
                suffix = Path(image.path).suffix[1:].lower()
                key = key_of(number, image.path)
                tar.write({'__key__': key, 'cls': str(image.label).encode(), suffix: content})
                yield image.size_in_tar
        put_in_place(part, file)
    finally:
        part.unlink(missing_ok=True)


def key_of(number: int, path: str) -> str:
    """Return a unique key, from which the image can be found in the folder."""
    return f'{number:09d}-{re.sub("[^A-Za-z0-9_-]", "_", Path(path).stem)[:60]}'
