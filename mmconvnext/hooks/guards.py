"""Stop a run with non-finite values or too many broken images while its last checkpoint is intact."""

import logging
from math import ceil
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
    """Stop before an optimizer step with a non-finite loss or gradient, so that the weights stay finite.

    In mixed precision, the loss scaler skips steps with infinite gradients itself, so this hook does not see
    them.

    Args:
        skip: number of such steps that are skipped with a warning before the run stops.
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
        # Steps skipped because of gradients are counted there; the loss scaler skips by itself.
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
        optimizer.zero_grad(set_to_none=True)  # without gradients, a step changes nothing

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
    """Return whether all numbers are finite, in all processes if gradients are sharded."""
    norm = get_total_norm(gradients)
    return bool(torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm))


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """List training images that could not be read and were replaced, and stop if there are too many.

    Args:
        max_fraction: maximum fraction of broken images in an epoch, per process; a single one is always
            allowed.
    """

    def __init__(self, max_fraction: float = 0.01):
        self.max_fraction = max_fraction
        self.count, self.paths = 0, set()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter % len(runner.train_dataloader) == 0:  # iteration-based loops have epochs, too
            self.count = 0
        samples = data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ()
        for sample in (sample for sample in samples if 'stands_in_for' in sample):
            self.count += 1
            path = sample.stands_in_for
            if path not in self.paths:
                line = f'{path} cannot be read ({sample.stands_in_because})'
                print_log(f'{line}; another image takes its place', 'current', logging.WARNING)
                # The log has those of the first process.
                with Path(runner.work_dir, 'broken_images.txt').open('a', encoding='utf-8') as file:
                    file.write(f'{line}\n')
                self.paths.add(path)
        images = len(runner.train_dataloader) * runner.cfg.train_dataloader.batch_size
        if hasattr(runner.train_dataloader.dataset, '__len__'):  # the last batch may not be full
            images = min(images, ceil(len(runner.train_dataloader.dataset) / runner.world_size))
        if self.count > max(1, self.max_fraction * images):
            paths = sorted(self.paths)
            raise RunError(
                f'{self.count} images of this epoch cannot be read, more than {self.max_fraction:.1%} of '
                f'{images}: {", ".join(paths[:MAX_PATHS_SHOWN])}'
                f'{", ..." if len(paths) > MAX_PATHS_SHOWN else ""}. All of them are in broken_images.txt '
                'of the work dir; replace them, or allow more with --cfg-options '
                'default_hooks.broken_images.max_fraction=0.1'
            )
