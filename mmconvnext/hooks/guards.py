"""Stop a run that has gone wrong while its last checkpoint is good."""

import logging
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from ..errors import RunError
from ..registry import HOOKS

MAX_PATHS_SHOWN = 5


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop before a step with a loss or gradient that is not finite; weights stay those of the step before.

    In mixed precision the loss scaler leaves out steps with infinite gradients by itself; they reach
    this hook no more.

    Args:
        skip: leave out up to so many steps of a run before stopping, each with a warning.
    """

    priority = 'VERY_HIGH'  # before averaging and saving

    def __init__(self, skip: int = 0):
        self.skip = skip

    def before_train(self, runner: Runner) -> None:
        if isinstance(runner.optim_wrapper, OptimWrapper):
            self.runner = runner
            runner.optim_wrapper.optimizer.register_step_pre_hook(self._check_gradients)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        loss = (outputs or {}).get('loss')
        # A step left out for its gradients is counted there; the loss scaler leaves out by itself.
        uncounted = self.skip == 0 or isinstance(runner.optim_wrapper, AmpOptimWrapper)
        if uncounted and isinstance(loss, torch.Tensor) and not bool(torch.isfinite(loss).all()):
            self._skip_or_stop(f'the loss of iteration {runner.iter + 1} is {loss.item()}')

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_) -> None:
        gradients = [
            p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None
        ]
        if all_finite(gradients):
            return
        self._skip_or_stop(f'the gradients of iteration {self.runner.iter + 1} are not finite')
        optimizer.zero_grad(set_to_none=True)  # a step without gradients changes nothing

    def _skip_or_stop(self, where: str) -> None:
        skipped = self.runner.message_hub.get_info('steps_skipped', 0) + 1
        if skipped > self.skip:
            raise RunError(self._message(where))
        self.runner.message_hub.update_info('steps_skipped', skipped)
        print_log(f'{where}: step left out, {skipped} of at most {self.skip}', 'current', logging.WARNING)

    def _message(self, where: str) -> str:
        saved = self.runner.message_hub.get_info('last_ckpt', None)
        kept = f'the last checkpoint, {saved}, is from before' if saved else 'nothing was saved yet'
        return (
            f'{where}; the run stops, {kept}. Go on with --resume and gradient clipping (--cfg-options '
            'optim_wrapper.clip_grad.max_norm=1) or leaving out a few such steps (--cfg-options '
            'default_hooks.finite.skip=10), or begin another run with a lower learning rate'
        )


def all_finite(gradients: list[torch.Tensor]) -> bool:
    """Whether no number is infinite or NaN, in any process if each has its shard of the gradients."""
    norm = get_total_norm(gradients)
    return bool(torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm))


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """List images that could not be read and were replaced; stop when there are too many.

    Args:
        max_fraction: of the images of an epoch, in each process; a single one is always borne.
    """

    def __init__(self, max_fraction: float = 0.01):
        self.max_fraction = max_fraction
        self.count, self.paths = 0, set()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter % len(runner.train_dataloader) == 0:  # loops by iterations go through epochs, too
            self.count = 0
        samples = data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ()
        for sample in (sample for sample in samples if 'stands_in_for' in sample):
            self.count += 1
            path = sample.stands_in_for
            if path not in self.paths:
                line = f'{path} cannot be read ({sample.stands_in_because})'
                print_log(f'{line}; another image takes its place', 'current', logging.WARNING)
                # The log has what the first process met.
                with Path(runner.work_dir, 'broken_images.txt').open('a', encoding='utf-8') as file:
                    file.write(f'{line}\n')
                self.paths.add(path)
        images = len(runner.train_dataloader) * runner.cfg.train_dataloader.batch_size
        if self.count > max(1, self.max_fraction * images):
            paths = sorted(self.paths)
            raise RunError(
                f'{self.count} images of this epoch cannot be read, more than {self.max_fraction:.1%} of '
                f'{images}: {", ".join(paths[:MAX_PATHS_SHOWN])}'
                f'{", ..." if len(paths) > MAX_PATHS_SHOWN else ""}. All of them are in broken_images.txt '
                'of the work dir; replace them, or allow more with --cfg-options '
                'default_hooks.broken_images.max_fraction=0.1'
            )
