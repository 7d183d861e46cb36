"""Save by epochs and by iterations, and lose nothing on the way."""

import shutil
from pathlib import Path

import mmengine.hooks
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from ..errors import UserError
from ..files import written_whole
from ..registry import HOOKS

# Beside the newest one, in case it cannot be read later.
KEPT_INSIDE_EPOCH = 2


@HOOKS.register_module()
class CheckpointHook(mmengine.hooks.CheckpointHook):
    """mmengine's hook, which removes old checkpoints only when a newer one is whole.

    Checkpoints from inside an epoch are named ``iter_N.pth``; the two newest are kept, until the epoch
    is saved. With half-accumulated gradients nothing is saved, since no file holds them.

    Args:
        every_iters: also save after every so many iterations inside an epoch.
        **kwargs: of mmengine's ``CheckpointHook``.
    """

    def __init__(self, *, every_iters: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if every_iters is not None and not self.by_epoch:
            raise ValueError(
                f'every_iters={every_iters} is for by_epoch=True; by iterations, interval says it'
            )
        self.every_iters = every_iters
        self.is_due = False  # as soon as no gradients are half accumulated
        self.saved_iter = None  # number of iterations in the newest checkpoint

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
        """Save after the present iteration, unless it leaves half-accumulated gradients; whether it did."""
        done = runner.iter + 1
        if done % accumulation(runner) and done != runner.max_iters:
            return False
        self.is_due = False
        if done != self.saved_iter:
            if self.by_epoch:
                inside = [*runner.message_hub.get_info('inside_epoch', []), f'iter_{done}.pth']
                meta = dict(epoch=runner.epoch, iter=done)
                self._save(runner, inside[-1], meta, by_epoch=False, inside=inside[-KEPT_INSIDE_EPOCH:])
            else:
                self._save_checkpoint(runner)
        return True

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not self.by_epoch and step % accumulation(runner) and step != runner.max_iters:
            self.is_due = True  # mmengine calls this for a new best score, too
            return
        kept = list(runner.message_hub.get_info('keep_ckpt_ids', []))
        if self.max_keep_ckpts > 0 and step not in kept:
            kept.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', kept[-self.max_keep_ckpts :])
        self._save(runner, self.filename_tmpl.format(step), meta, by_epoch=self.by_epoch, inside=[])
        for old in kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []:
            self._remove(self.filename_tmpl.format(old))

    def _save(self, runner: Runner, name: str, meta: dict, *, by_epoch: bool, inside: list[str]) -> None:
        superseded = set(runner.message_hub.get_info('inside_epoch', [])) - set(inside)
        runner.message_hub.update_info('inside_epoch', inside)
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        options = dict(save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler)
        try:
            runner.save_checkpoint(self.out_dir, name, meta=meta, by_epoch=by_epoch, **options, **self.args)
        except OSError as error:
            raise UserError(
                f'{self.last_ckpt} was not written: {error.strerror or error}. The checkpoints before it are '
                'whole; make room, or whatever it lacks, and go on with --resume'
            ) from error
        self.saved_iter = meta['iter']
        if is_main_process():
            with written_whole(Path(runner.work_dir, 'last_checkpoint')) as part:
                part.write_text(self.last_ckpt)
        for old in superseded:
            self._remove(old)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # mmengine removes the former best file before it writes the new one: hide it until then.
        former = self._best_paths()
        self._set_best_paths(dict.fromkeys(former))
        super()._save_best_checkpoint(runner, metrics)
        found = self._best_paths()
        self._set_best_paths({key: found[key] or former.get(key) for key in found})
        for key, path in former.items():
            if path and found[key] and path != found[key]:
                self._remove(Path(path).name)

    def _best_paths(self) -> dict[str, str | None]:
        """Of each metric; mmengine keeps a single one in another place."""
        if not self.save_best:
            return {}
        return {'': self.best_ckpt_path} if len(self.key_indicators) == 1 else dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if '' in paths:
            self.best_ckpt_path = paths['']
        elif paths:
            self.best_ckpt_path_dict = paths

    def _remove(self, name: str) -> None:
        if is_main_process():
            path = Path(self.out_dir, name)
            if path.is_dir():  # of DeepSpeed
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def accumulation(runner: Runner) -> int:
    """Iterations for every optimizer step."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)
