"""Save checkpoints by epochs and by iterations, without ever losing the last intact one."""

import re
import shutil
from pathlib import Path
from string import Formatter
from uuid import uuid4

import mmengine.hooks
import numpy as np
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from ..checkpoints import load_checkpoint
from ..errors import UserError
from ..files import written_whole
from ..registry import HOOKS

# In addition to the newest, in case that cannot be read later.
KEPT_INSIDE_EPOCH = 2
INSIDE_EPOCH = 'iter_{}.pth'
POINTER = 'last_checkpoint'  # contains the path of the newest one, for mmengine
NUMBER = r'(\d{1,18})'


@HOOKS.register_module()
class CheckpointHook(mmengine.hooks.CheckpointHook):
    """mmengine's hook, but old checkpoints are removed only when a newer one is complete.

    Checkpoints from within an epoch are named ``iter_N.pth``; the newest two are kept until the epoch is
    saved. While gradients are accumulated, saving waits for the next optimizer step.

    A run removes or replaces only checkpoints that it wrote itself (also before an interruption), which
    contain its run id. If it needs the name of another file, that file is renamed to ``NAME.old``.

    An epoch in which no optimizer step had a learning rate above 0, as at the start of a warm-up on few
    images, is not a candidate for the best checkpoint.

    Args:
        every_iters: number of iterations between checkpoints within an epoch.
        **kwargs: arguments of mmengine's ``CheckpointHook``.
    """

    def __init__(self, *, every_iters: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if every_iters is not None and not self.by_epoch:
            raise ValueError(
                f'every_iters={every_iters} is for by_epoch=True; by iterations, interval says it'
            )
        self.every_iters = every_iters
        self.is_due = False  # when the accumulation of gradients is complete
        self.saved_iter = None  # number of iterations in the newest checkpoint

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if runner._resume and runner._load_from:
            runner.message_hub.update_info('last_ckpt', str(runner._load_from))
        # A resumed file may contain any path: accept only a best checkpoint in this run's folder.
        self._set_best_paths({key: self._own_best(path) for key, path in self._best_paths().items()})

    def _own_best(self, named: str | None) -> str | None:
        path = Path(self.out_dir, Path(str(named)).name)
        return str(path) if path.name.startswith('best_') and is_checkpoint(path) else None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.by_epoch:
            due = self.every_iters is not None and self.every_n_train_iters(runner, self.every_iters)
        else:
            due = self.every_n_train_iters(runner, self.interval, self.save_begin) or (
                self.save_last and self.is_last_train_iter(runner)
            )
        self.is_due |= due
        if self.is_due:
            self.save_now(runner)

    def save_now(self, runner: Runner) -> bool:
        """Save after this iteration unless gradients are being accumulated; return whether it was saved."""
        done = runner.iter + 1
        if done % accumulation(runner) and done != runner.max_iters:
            return False
        self.is_due = False
        if done != self.saved_iter:
            if self.by_epoch:
                meta = dict(epoch=runner.epoch, iter=done)
                self._save(runner, INSIDE_EPOCH.format(done), meta, by_epoch=False)
                self._remove_oldest(runner, INSIDE_EPOCH, done, kept=KEPT_INSIDE_EPOCH)
            else:
                self._save_checkpoint(runner)
        return True

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not self.by_epoch and step % accumulation(runner) and step != runner.max_iters:
            self.is_due = True  # mmengine also calls this for a new best score
            return
        self._save(runner, self.filename_tmpl.format(step), meta, by_epoch=self.by_epoch)
        if self.max_keep_ckpts > 0:
            self._remove_oldest(runner, self.filename_tmpl, step, kept=self.max_keep_ckpts)
        if self.by_epoch and self.filename_tmpl != INSIDE_EPOCH:
            self._remove_oldest(runner, INSIDE_EPOCH, meta['iter'], kept=0)

    def _save(self, runner: Runner, name: str, meta: dict, *, by_epoch: bool) -> None:
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        options = dict(save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler)
        try:
            runner.save_checkpoint(self.out_dir, name, meta=meta, by_epoch=by_epoch, **options, **self.args)
        except OSError as error:
            raise UserError(
                f'{self.last_ckpt} was not written: {error.strerror or error}. The checkpoints before it are '
                'whole; make room, or whatever it lacks, and continue with --resume'
            ) from error
        self.saved_iter = meta['iter']
        if is_main_process():
            with written_whole(Path(runner.work_dir, POINTER)) as part:
                part.write_text(self.last_ckpt)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if self.save_best and not has_stepped(runner):
            runner.logger.info(
                'Not a candidate for the best checkpoint: the learning rate has been 0 so far, so the '
                'weights have not changed'
            )
            metrics = dict.fromkeys(metrics)  # mmengine ignores a score of None
        # mmengine removes the previous best file before it writes the new one: hide it until then.
        former = self._best_paths()
        self._set_best_paths(dict.fromkeys(former))
        super()._save_best_checkpoint(runner, metrics)
        found = self._best_paths()
        self._set_best_paths({key: found[key] or former.get(key) for key in found})
        for key, path in found.items() if is_main_process() else ():
            if path:  # also what a crash has left
                template = best_prefix(key or self.key_indicators[0]) + self.filename_tmpl
                for file in numbered(self.out_dir, template).values():
                    if file.name != Path(path).name and is_own(runner, file):
                        remove(file)

    def _best_paths(self) -> dict[str, str | None]:
        """Return the best checkpoint of each metric; mmengine stores a single one in another attribute."""
        if not self.save_best:
            return {}
        return {'': self.best_ckpt_path} if len(self.key_indicators) == 1 else dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if '' in paths:
            self.best_ckpt_path = paths['']
        elif paths:
            self.best_ckpt_path_dict = paths

    def _remove_oldest(self, runner: Runner, template: str, last: int, *, kept: int) -> None:
        """Remove this run's checkpoints with names of this form up to number ``last``, except the newest.

        Only files found in the folder are considered, because a list in a resumed file could contain any
        name.
        """
        if is_main_process():
            saved = numbered(self.out_dir, template)
            own = [saved[n] for n in sorted(saved) if n <= last and is_own(runner, saved[n])]
            for path in own[: max(len(own) - kept, 0)]:
                remove(path)


def has_stepped(runner: Runner) -> bool:
    """Return whether any optimizer step so far had a learning rate above 0; True if no rates are logged."""
    logged = [runner.message_hub.log_scalars.get(f'train/{name}') for name in ('lr', 'base_lr')]
    rates = [history.data[0] for history in logged if history is not None]
    return not rates or any((values[steps_among(runner, len(values))] > 0).any() for values in rates)


def steps_among(runner: Runner, count: int) -> np.ndarray:
    """Return which of the last iterations ended with an optimizer step, as (count,) of bool."""
    done = np.arange(runner.iter - count, runner.iter) + 1  # a long history has lost its beginning
    # The last iterations of a training are a step of their own, even if they are fewer.
    return (done % accumulation(runner) == 0) | (done == runner.max_iters)


def remove(checkpoint: Path) -> None:
    if checkpoint.is_dir():  # written by DeepSpeed
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)


def is_own(runner: Runner, path: Path) -> bool:
    """Return whether this run wrote a checkpoint, possibly before an interruption."""
    return path in getattr(runner, 'saved', ()) or run_of(path) == run_id(runner)


def run_id(runner: Runner) -> str:
    """Return the id of a run, which is stored in all its checkpoints and kept when it is resumed."""
    known = runner.message_hub.get_info('run_id', None)
    if known is None:
        known = uuid4().hex
        runner.message_hub.update_info('run_id', known)
    return known


def run_of(path: Path) -> str | None:
    """Return the id of the run that wrote a checkpoint; None if the file has none or cannot be read."""
    try:
        content = load_checkpoint(path, mmap=True)
    except (OSError, UserError):
        return None
    for key in ('message_hub', 'runtime_info', 'run_id'):
        content = content.get(key) if isinstance(content, dict) else None
    return content


def numbered(folder: str | Path, template: str) -> dict[int, Path]:
    """Return the checkpoints directly in a folder whose names are ``template.format(number)``, by number."""
    parts = list(Formatter().parse(template))
    if sum(field is not None for _, field, _, _ in parts) != 1 or '://' in str(folder):
        return {}
    pattern = ''.join(re.escape(text) + (NUMBER if field is not None else '') for text, field, *_ in parts)
    found = {}
    for path in Path(folder).iterdir() if Path(folder).is_dir() else []:
        match = re.fullmatch(pattern, path.name)
        if match and template.format(int(match[1])) == path.name and is_checkpoint(path):
            found[int(match[1])] = path
    return found


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is a file, or a folder of DeepSpeed; links are neither."""
    if path.is_symlink():
        return False
    if not path.is_dir():
        return path.is_file()
    parts = list(path.iterdir())
    return bool(parts) and all(
        part.name.endswith('_states.pt') and part.is_file() and not part.is_symlink() for part in parts
    )


def best_prefix(metric: str) -> str:
    """Return the prefix of mmengine for best checkpoints, as part of a template."""
    return f'best_{metric}_'.replace('/', '_').replace('{', '{{').replace('}', '}}')


def accumulation(runner: Runner) -> int:
    """Return the number of iterations per optimizer step."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)
