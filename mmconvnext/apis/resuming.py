"""From which checkpoint does a run go on?"""

import logging
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from torch.utils.data import Dataset

from ..checkpoints import load_checkpoint
from ..engine.record import check_unchanged, record_of
from ..engine.saved_state import check_state, is_count
from ..errors import UserError
from ..files import check_regular
from ..hooks.checkpoint import INSIDE_EPOCH, is_checkpoint, numbered


def choose_start(cfg: Config, resume: str | None, *, trust: bool = False) -> None:
    """Set ``load_from`` and ``resume``, and protect the checkpoints of an earlier run.

    Args:
        cfg: with ``work_dir``, after ``init_distributed``.
        resume: see ``train``.
        trust: see ``load_checkpoint``.

    Raises:
        UserError: nothing to go on from, or a new run where an earlier one has left checkpoints.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'latest'
    if resume in ('auto', 'latest'):
        # One process looks: on a network disk two might see different files.
        found = [newest_checkpoint(cfg, trust=trust) if is_main_process() else None]
        broadcast_object_list(found)
        if found[0] is None and resume == 'latest':
            raise UserError(
                f'--resume: {cfg.work_dir} holds no checkpoint to go on from; start without --resume, '
                'or name the folder of the earlier run with --work-dir'
            )
        resume = found[0]
    else:
        saved = saved_in(cfg)
        if saved and (resume is None or Path(resume).resolve().parent != saved[-1].resolve().parent):
            raise UserError(
                f'{saved[-1].parent} holds {saved[-1].name} of an earlier run, which this one would write '
                'over; go on with --resume, choose another folder with --work-dir, or delete this one'
            )
        if saved and Path(resume).exists():
            check_newest(Path(resume), saved, trust=trust)
    if resume is not None:
        check_resumable(resume, trust=trust)
        cfg.load_from, cfg.resume = resume, True


def check_resumable(file: str, *, trust: bool) -> None:
    """Raise UserError unless this is a checkpoint that a training run has saved."""
    path = Path(file)
    if path.is_dir() and is_checkpoint(path):  # of DeepSpeed
        return
    if path.exists():
        check_regular(path)
    check_state(load_checkpoint(file, mmap=True, trust=trust), str(file))


def check_continues(cfg: Config, dataset: Dataset, *, trust: bool) -> None:
    """Raise UserError if a run that goes on has other data or batches than the one that was saved."""
    if cfg.get('resume') and Path(cfg.load_from).is_file():
        saved = load_checkpoint(cfg.load_from, mmap=True, trust=trust)['meta'].get('run')
        if isinstance(saved, dict):
            check_unchanged(saved, record_of(cfg, dataset), str(cfg.load_from))


def check_newest(chosen: Path, saved: list[Path], *, trust: bool) -> None:
    """Raise if a run going on from this checkpoint would leave later ones of another past beside its own."""
    place = place_of(chosen, trust=trust)
    for file in saved:
        try:
            is_newer = place_of(file, trust=trust) > place
        except UserError:  # a damaged one is taken by nobody
            continue
        if is_newer:
            raise UserError(
                f'--resume {chosen}: {file.name} beside it is newer, and a later --resume would take it for '
                'the end of this run; delete what is newer, or choose another folder with --work-dir'
            )


def checkpoint_folder(cfg: Config) -> Path:
    """Return the folder that the checkpoint hook writes to, see ``out_dir`` of mmengine's."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir, work_dir = hook.get('out_dir'), Path(cfg.work_dir)
    return work_dir if out_dir in (None, cfg.work_dir) else Path(out_dir, work_dir.name)


def saved_in(cfg: Config) -> list[Path]:
    """Return the checkpoints of a run, oldest first by their time of writing."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    templates = {'epoch_{}.pth', INSIDE_EPOCH, hook.get('filename_tmpl') or INSIDE_EPOCH}
    folder = checkpoint_folder(cfg)
    saved = [file for template in templates for file in numbered(folder, template).values()]
    return sorted(saved, key=lambda file: file.stat().st_mtime)


def newest_checkpoint(cfg: Config, *, trust: bool = False) -> str | None:
    """The checkpoint with most iterations that can be read whole; a warning names newer ones that cannot.

    Raises:
        UserError: there are checkpoints, and none can be read.
    """
    places, broken = {}, {}
    for file in saved_in(cfg):
        try:
            places[file] = place_of(file, trust=trust)
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


def place_of(file: Path, *, trust: bool) -> tuple[int, int]:
    """Return the iterations and epochs done, to compare checkpoints by.

    Raises:
        UserError: the file cannot be read, or its place is no number.
    """
    if file.is_dir():  # of DeepSpeed; epoch_3.pth
        return 0, int(file.stem.split('_')[-1])
    meta = load_checkpoint(file, mmap=True, trust=trust).get('meta')
    place = tuple(meta.get(field, 0) if isinstance(meta, dict) else None for field in ('iter', 'epoch'))
    if not all(map(is_count, place)):
        raise UserError(
            f'{file} does not say after how many iterations it was saved; remove it from the folder'
        )
    return place


def damage_of(file: Path) -> str | None:
    """The first part of a checkpoint that is not what was written, by the checksums torch has put there."""
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        return archive.testzip()
