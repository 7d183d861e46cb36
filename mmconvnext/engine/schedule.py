"""The learning rate schedule of the official recipes."""

import math

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch.optim import Optimizer

from ..errors import UserError
from ..registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up from 0, followed by a half cosine down to ``min_lr``, both in optimizer steps.

    Official V1 ``utils.py`` (``cosine_scheduler``) and V2 ``utils.py`` (``adjust_learning_rate``). The rate
    is constant while gradients are accumulated. Every parameter group keeps its ratio to the highest initial
    rate, like ``lr_scale`` in the official code, so layer decay also scales ``min_lr``.

    In a config, by epochs or, with ``by_epoch=False``, by iterations::

        dict(type='mmconvnext.WarmupCosineLR', convert_to_iter_based=True, epochs=300, warmup_epochs=20)
        dict(type='mmconvnext.WarmupCosineLR', by_epoch=False, iterations=160000, warmup_iterations=1500)

    Args:
        optimizer: optimizer to schedule; an ``OptimWrapper`` also defines the iterations per step.
        iterations: length of the whole curve in batches; afterwards, the rate is constant.
        warmup_iterations: length of the warm-up in batches.
        min_lr: absolute final rate of a group with the highest initial rate.
        warmup_reaches_peak: whether the last step of the warm-up has the full rate (V1) or the first step
            after it (V2).
        by_epoch: must be False; mmengine reads it.
        end: length of the training, set by mmengine; training may stop before the curve ends.

    Raises:
        UserError: the warm-up is not shorter than the curve, or a number is negative.
    """

    def __init__(
        self,
        optimizer: OptimWrapper | Optimizer,
        *,
        iterations: int,
        warmup_iterations: int = 0,
        min_lr: float = 0.0,
        warmup_reaches_peak: bool = True,
        by_epoch: bool = False,
        end: int | None = None,
    ):
        if by_epoch:
            raise UserError(
                'WarmupCosineLR counts iterations; give it epochs with convert_to_iter_based=True, '
                'or iterations with by_epoch=False'
            )
        if not 0 <= warmup_iterations < iterations or min_lr < 0:
            raise UserError(
                f'WarmupCosineLR cannot warm up for {warmup_iterations:g} of {iterations:g} iterations and '
                f'end at {min_lr:g}; the warm-up has to be shorter than the whole, and no number negative'
            )
        # mmengine has no public name for this.
        self.accumulation = getattr(optimizer, '_accumulative_counts', 1)
        self.iterations, self.warmup_iterations = iterations, warmup_iterations
        self.min_lr, self.warmup_reaches_peak = min_lr, warmup_reaches_peak
        super().__init__(optimizer, 'lr', end=iterations, by_epoch=False)
        # Otherwise mmengine warns that the schedule was stepped before the optimizer.
        optimizer._global_step = max(optimizer._global_step, 0)

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: OptimWrapper | Optimizer,
        *,
        epochs: int,
        epoch_length: int,
        warmup_epochs: int = 0,
        by_epoch: bool = True,
        **kwargs,
    ) -> 'WarmupCosineLR':
        """Build the schedule for ``convert_to_iter_based``; ``epoch_length`` is in batches."""
        if not 0 <= warmup_epochs < epochs:
            raise UserError(
                f'WarmupCosineLR cannot warm up for {warmup_epochs} of {epochs} epochs; set a smaller '
                'param_scheduler.warmup_epochs, 0 for none'
            )
        return cls(
            optimizer,
            iterations=epochs * epoch_length,
            warmup_iterations=warmup_epochs * epoch_length,
            **kwargs,
        )

    def _get_value(self) -> list[float]:
        # mmengine appends settings that belong to no parameter to the groups of a wrapper.
        groups = getattr(self.optimizer, 'optimizer', self.optimizer).param_groups
        peak = max(self.base_values[: len(groups)])
        rate = self.rate(self._global_step // self.accumulation, peak)
        return [rate * (base / peak) if peak else 0.0 for base in self.base_values]

    def rate(self, step: int, peak: float) -> float:
        """Return the rate of an optimizer step, counted from 0, for a group with initial rate ``peak``."""
        steps, warmup = self.iterations // self.accumulation, self.warmup_iterations // self.accumulation
        if step < warmup:
            # The formula of numpy.linspace, for bitwise equality.
            last = max(warmup - 1, 1) if self.warmup_reaches_peak else warmup
            return peak if step == last else step * (peak / last)
        # The last batches may not fill a step.
        done, n = step - warmup, max(steps - warmup, 1)
        return self.min_lr + 0.5 * (peak - self.min_lr) * (1 + math.cos(math.pi * min(done, n) / n))

    def go_to(self, iterations: int) -> None:
        """Set the rates after the given number of iterations."""
        self._global_step = self.last_step = iterations - 1
        self.step()

    def state_dict(self) -> dict:
        """Return position and initial rates; the curve itself comes from the config."""
        return {name: getattr(self, name) for name in ('_global_step', 'last_step', 'base_values')}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state of this scheduler, or of any iteration-based scheduler of mmengine."""
        self.__dict__.update({name: state_dict[name] for name in self.state_dict()})
        self._last_value = [group['lr'] for group in self.optimizer.param_groups]
