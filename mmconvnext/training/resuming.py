"""Choose and check the checkpoint from which a run is resumed."""

import logging
import os
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from torch.utils.data import Dataset

from ..checkpoints import load_checkpoint
from ..engine.processes import decided_by_first
from ..engine.record import check_unchanged, record_of
from ..engine.saved_state import check_state, is_count
from ..errors import UserError
from ..files import check_regular
from ..hooks.checkpoint import INSIDE_EPOCH, POINTER, numbered
from ..zoo.entries import zoo

# Files that a run writes to its work dir in addition to checkpoints.
WRITTEN = (POINTER, 'classes.csv', 'confusion_matrix.png', 'broken_images.txt')


def choose_start(cfg: Config, resume: str | None, *, trust: bool = False) -> None:
    """Set ``load_from`` and ``resume``, and protect the checkpoints of an earlier run.

    Args:
        cfg: config with ``work_dir``, after ``init_distributed``.
        resume: see ``train``.
        trust: see ``load_checkpoint``.

    Raises:
        UserError: there is no checkpoint to resume from, or a new run would use a folder with checkpoints.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'latest'
    start = decided_by_first(lambda: find_start(cfg, resume, trust=trust))
    if start is not None:
        cfg.load_from, cfg.resume = start, True


def find_start(cfg: Config, resume: str | None, *, trust: bool) -> str | None:
    """Return the checked checkpoint to resume from, or None for a new run; see ``choose_start``."""
    check_names(cfg)
    if resume in ('auto', 'latest'):
        found = newest_checkpoint(cfg, trust=trust)
        if found is None and resume == 'latest':
            raise UserError(
                f'--resume: {cfg.work_dir} holds no checkpoint to continue from; start without --resume, '
                'or name the folder of the earlier run with --work-dir'
            )
        resume = found
    else:
        saved = saved_in(cfg)
        if saved and (resume is None or Path(resume).resolve().parent != saved[-1].resolve().parent):
            raise UserError(
                f'{saved[-1].parent} holds {saved[-1].name} of an earlier run, which this one would write '
                'over; continue with --resume, choose another folder with --work-dir, or delete this one'
            )
        if saved and Path(resume).exists():
            check_newest(Path(resume), saved, trust=trust)
    if resume is not None:
        check_resumable(resume, trust=trust)
    return resume


def check_names(cfg: Config) -> None:
    """Raise UserError if a file name of the run is taken by something other than a regular file."""
    config = Path(cfg.filename or '.py').name  # mmengine writes it there
    for file in (Path(cfg.work_dir, name) for name in (*WRITTEN, config)):
        if file.exists() and not file.is_file():
            kind = 'a folder' if file.is_dir() else 'a pipe or device'
            raise UserError(
                f'{file} is {kind}, and the run writes a file of that name; move it, or choose another '
                'folder with --work-dir'
            )


def check_resumable(file: str, *, trust: bool) -> None:
    """Raise UserError unless this is a training checkpoint."""
    path = Path(file)
    if str(file).removeprefix('mmconvnext://') in zoo() or (path / 'config.json').exists():
        raise UserError(
            f'{file} holds weights, but not the state of a training, so that it cannot be resumed. Name a '
            f'checkpoint that a training saved, or start a new run from these weights: --cfg-options '
            f'load_from={file}'
        )
    if path.is_dir():
        raise UserError(
            f'{file} is a folder; name a checkpoint that a training saved, as {path / "epoch_3.pth"}, or '
            f'continue from the newest in a folder: --resume --work-dir {file}'
        )
    if path.exists():
        check_regular(path)
    check_state(load_checkpoint(file, mmap=True, trust=trust), str(file))


def check_continues(cfg: Config, dataset: Dataset, *, trust: bool) -> None:
    """Raise UserError if a resumed run has other data or batches than the saved one."""
    if cfg.get('resume'):
        now = record_of(cfg, dataset)
        decided_by_first(lambda: compare_with(cfg.load_from, now, trust=trust))


def compare_with(file: str, now: dict, *, trust: bool) -> None:
    saved = load_checkpoint(file, mmap=True, trust=trust)['meta'].get('run')
    if isinstance(saved, dict):
        check_unchanged(saved, now, str(file))


def check_newest(chosen: Path, saved: list[Path], *, trust: bool) -> None:
    """Raise UserError if newer checkpoints of another past are in the folder of the checkpoint to resume."""
    place = progress_of(chosen, trust=trust)
    for file in saved:
        try:
            is_newer = progress_of(file, trust=trust) > place
        except UserError:  # nothing resumes from a damaged checkpoint
            continue
        if is_newer:
            raise UserError(
                f'--resume {chosen}: {file.name} beside it is newer, and a later --resume would take it for '
                'the end of this run; delete what is newer, or choose another folder with --work-dir'
            )


def checkpoint_folder(cfg: Config) -> Path:
    """Return the folder to which the checkpoint hook writes, see ``out_dir`` of mmengine's hook.

    For other storage, such as ``s3://``, this is the work dir.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir, work_dir = hook.get('out_dir'), os.path.abspath(cfg.work_dir)  # noqa: PTH100, as mmengine
    if out_dir in (None, work_dir) or '://' in out_dir:
        return Path(cfg.work_dir)
    return Path(out_dir, Path(work_dir).name)


def saved_in(cfg: Config) -> list[Path]:
    """Return the checkpoints of a run, sorted by modification time."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    templates = {'epoch_{}.pth', INSIDE_EPOCH, hook.get('filename_tmpl') or INSIDE_EPOCH}
    folder = checkpoint_folder(cfg)
    saved = [file for template in templates for file in numbered(folder, template).values()]
    return sorted(saved, key=lambda file: file.stat().st_mtime)


def newest_checkpoint(cfg: Config, *, trust: bool = False) -> str | None:
    """Return the intact checkpoint with the most iterations, and warn about damaged newer ones.

    Raises:
        UserError: there are checkpoints, but none can be read.
    """
    places, broken = {}, {}
    for file in saved_in(cfg):
        try:
            places[file] = progress_of(file, trust=trust)
        except UserError as error:
            broken[file] = error
    for file in sorted(places, key=places.get, reverse=True):
        damaged = damage_of(file)
        if damaged is None:
            for reason in broken.values():
                print_log(f'{reason}. Going on from {file}', 'current', logging.WARNING)
            return str(file)
        broken[file] = UserError(f'{file} is damaged at {damaged}')
    if broken:
        reasons = '; '.join(map(str, broken.values()))
        raise UserError(f'--resume: no checkpoint in {checkpoint_folder(cfg)} can be read: {reasons}')
    return None


def progress_of(file: Path, *, trust: bool) -> tuple[int, int]:
    """Return the iterations and epochs of a checkpoint, for comparisons.

    Raises:
        UserError: the file cannot be read, or its position is not a number.
    """
    if file.is_dir():
        raise UserError(f'{file} is a folder as DeepSpeed writes it, which cannot be resumed')
    meta = load_checkpoint(file, mmap=True, trust=trust).get('meta')
    place = tuple(meta.get(field, 0) if isinstance(meta, dict) else None for field in ('iter', 'epoch'))
    if not all(map(is_count, place)):
        raise UserError(
            f'{file} does not say after how many iterations it was saved; remove it from the folder'
        )
    return place


def damage_of(file: Path) -> str | None:
    """Return the first damaged part of a checkpoint according to torch's checksums, or None."""
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        return archive.testzip()
