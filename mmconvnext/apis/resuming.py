"""From which checkpoint does a run go on?"""

import logging
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ..checkpoints import load_checkpoint
from ..errors import UserError


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
        found = [newest_checkpoint(cfg.work_dir, trust=trust) if is_main_process() else None]
        broadcast_object_list(found)
        if found[0] is None and resume == 'latest':
            raise UserError(
                f'--resume: {cfg.work_dir} holds no checkpoint to go on from; start without --resume, '
                'or name the folder of the earlier run with --work-dir'
            )
        resume = found[0]
    else:
        saved = saved_in(cfg.work_dir)
        if saved and (resume is None or Path(resume).resolve().parent != Path(cfg.work_dir).resolve()):
            raise UserError(
                f'{cfg.work_dir} holds {saved[-1].name} of an earlier run, which this one would write over; '
                'go on with --resume, choose another folder with --work-dir, or delete this one'
            )
        if saved and Path(resume).is_file():
            check_newest(Path(resume), saved, trust=trust)
    if resume is not None:
        cfg.load_from, cfg.resume = resume, True


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


def saved_in(work_dir: str | Path) -> list[Path]:
    """The checkpoints of a run, oldest first by their time of writing."""
    folder, pointer = Path(work_dir), Path(work_dir, 'last_checkpoint')
    if pointer.is_file() and not list(folder.glob('*.pth')):  # the hook's out_dir is another folder
        folder = Path(pointer.read_text().strip()).parent
    saved = [file for kind in ('epoch', 'iter') for file in folder.glob(f'{kind}_*.pth')]
    return sorted(saved, key=lambda file: file.stat().st_mtime)


def newest_checkpoint(work_dir: str | Path, *, trust: bool = False) -> str | None:
    """The checkpoint with most iterations that can be read whole; a warning names newer ones that cannot.

    Raises:
        UserError: there are checkpoints, and none can be read.
    """
    places, broken = {}, {}
    for file in saved_in(work_dir):
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
        raise UserError(
            f'--resume: no checkpoint in {work_dir} can be read: {"; ".join(map(str, broken.values()))}'
        )
    return None


def place_of(file: Path, *, trust: bool) -> tuple[int, int]:
    """Iterations and epochs done, to compare checkpoints by."""
    if file.is_dir():  # of DeepSpeed; epoch_3.pth
        return 0, int(file.stem.split('_')[-1])
    meta = load_checkpoint(file, mmap=True, trust=trust).get('meta', {})
    return meta.get('iter', 0), meta.get('epoch', 0)


def damage_of(file: Path) -> str | None:
    """The first part of a checkpoint that is not what was written, by the checksums torch has put there."""
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        return archive.testzip()
