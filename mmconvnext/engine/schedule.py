"""The learning rate schedules of the official recipes."""

import math

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch.optim import Optimizer

from ..errors import UserError
from ..registry import PARAM_SCHEDULERS


class Schedule(_ParamScheduler):
    """A learning rate that depends on the number of optimizer steps only; subclasses define ``rate``.

    The rate is constant while gradients are accumulated. Every parameter group keeps its ratio to the highest
    initial rate, like ``lr_scale`` in the official code.

    In a config, by epochs or, with ``by_epoch=False``, by iterations::

        dict(type='mmconvnext.WarmupCosineLR', convert_to_iter_based=True, epochs=300, warmup_epochs=20)
        dict(type='mmconvnext.WarmupCosineLR', by_epoch=False, iterations=160000, warmup_iterations=1500)

    Args:
        optimizer: optimizer to schedule; an ``OptimWrapper`` also defines the iterations per step.
        iterations: length of the whole curve in batches; afterwards, the rate is constant.
        warmup_iterations: length of the warm-up in batches.
        by_epoch: must be False; mmengine reads it.
        end: length of the training, set by mmengine; training may stop before the curve ends.

    Raises:
        UserError: the warm-up is not shorter than the curve, or its length is negative.
    """

    def __init__(
        self,
        optimizer: OptimWrapper | Optimizer,
        *,
        iterations: int,
        warmup_iterations: int = 0,
        by_epoch: bool = False,
        end: int | None = None,
    ):
        name = type(self).__name__
        if by_epoch:
            raise UserError(
                f'{name} counts iterations; give it epochs with convert_to_iter_based=True, '
                'or iterations with by_epoch=False'
            )
        if not 0 <= warmup_iterations < iterations:
            raise UserError(
                f'{name} cannot warm up for {warmup_iterations:g} of {iterations:g} iterations; '
                'the warm-up has to be shorter than the whole, and not negative'
            )
        # mmengine has no public name for this.
        self.accumulation = getattr(optimizer, '_accumulative_counts', 1)
        self.iterations, self.warmup_iterations = iterations, warmup_iterations
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
    ) -> 'Schedule':
        """Build the schedule for ``convert_to_iter_based``; ``epoch_length`` is in batches."""
        if not 0 <= warmup_epochs < epochs:
            raise UserError(
                f'{cls.__name__} cannot warm up for {warmup_epochs} of {epochs} epochs; set a smaller '
                'param_scheduler.warmup_epochs, 0 for none'
            )
        return cls(
            optimizer,
            iterations=epochs * epoch_length,
            warmup_iterations=warmup_epochs * epoch_length,
            **kwargs,
        )

    def rate(self, step: int, peak: float) -> float:
        """Return the rate of an optimizer step, counted from 0, for a group with initial rate ``peak``."""
        raise NotImplementedError

    @property
    def groups(self) -> list[dict]:
        """Parameter groups without the settings that mmengine appends to those of a wrapper."""
        return getattr(self.optimizer, 'optimizer', self.optimizer).param_groups

    @property
    def lengths(self) -> tuple[int, int]:
        """Optimizer steps of the whole curve and of the warm-up; the last batches may not fill a step."""
        return self.iterations // self.accumulation, self.warmup_iterations // self.accumulation

    def _get_value(self) -> list[float]:
        peak = max(self.base_values[: len(self.groups)])
        rate = self.rate(self._global_step // self.accumulation, peak)
        return [rate * (base / peak) if peak else 0.0 for base in self.base_values]

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


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(Schedule):
    """Linear warm-up from 0, followed by a half cosine down to ``min_lr``, both in optimizer steps.

    Official V1 ``utils.py`` (``cosine_scheduler``) and V2 ``utils.py`` (``adjust_learning_rate``). Layer
    decay also scales ``min_lr``.

    Args:
        optimizer: see ``Schedule``.
        min_lr: absolute final rate of a group with the highest initial rate.
        warmup_reaches_peak: whether the last step of the warm-up has the full rate (V1) or the first step
            after it (V2).
        **kwargs: see ``Schedule``.

    Raises:
        UserError: the warm-up is not shorter than the curve, or a number is negative.
    """

    def __init__(
        self,
        optimizer: OptimWrapper | Optimizer,
        *,
        min_lr: float = 0.0,
        warmup_reaches_peak: bool = True,
        **kwargs,
    ):
        if min_lr < 0:
            raise UserError(f'WarmupCosineLR cannot end at {min_lr:g}; min_lr must not be negative')
        self.min_lr, self.warmup_reaches_peak = min_lr, warmup_reaches_peak
        super().__init__(optimizer, **kwargs)

    def rate(self, step: int, peak: float) -> float:
        steps, warmup = self.lengths
        if step < warmup:
            # The formula of numpy.linspace, for bitwise equality.
            last = max(warmup - 1, 1) if self.warmup_reaches_peak else warmup
            return peak if step == last else step * (peak / last)
        return falling(self.min_lr, peak, step - warmup, steps - warmup)


@PARAM_SCHEDULERS.register_module()
class SparKSchedule(Schedule):
    """Learning rate and weight decay of SparK: official ``utils/lr_control.py``.

    The rate rises linearly from ``start_factor`` of the peak, which the first step after the warm-up has, and
    falls in a half cosine to ``end_factor`` of it, which the last step has. Meanwhile the weight decay of the
    optimizer turns into ``final_weight_decay`` in a half cosine over all steps; groups without stay without.

    Args:
        optimizer: see ``Schedule``.
        final_weight_decay: weight decay of the last step, in groups with the highest initial one.
        start_factor: rate of the first step, as part of the peak.
        end_factor: rate of the last step, as part of the peak.
        **kwargs: see ``Schedule``.

    Raises:
        UserError: the warm-up is not shorter than the curve, or a number is negative.
    """

    def __init__(
        self,
        optimizer: OptimWrapper | Optimizer,
        *,
        final_weight_decay: float,
        start_factor: float = 0.005,
        end_factor: float = 0.001,
        **kwargs,
    ):
        if min(final_weight_decay, start_factor, end_factor) < 0:
            raise UserError(
                f'SparKSchedule has final_weight_decay={final_weight_decay:g}, start_factor={start_factor:g} '
                f'and end_factor={end_factor:g}; none of them may be negative'
            )
        self.final_weight_decay = final_weight_decay
        self.start_factor, self.end_factor = start_factor, end_factor
        super().__init__(optimizer, **kwargs)

    def rate(self, step: int, peak: float) -> float:
        steps, warmup = self.lengths
        if step < warmup:
            return peak * (self.start_factor + (1 - self.start_factor) * step / warmup)
        return falling(self.end_factor * peak, peak, step - warmup, steps - 1 - warmup)

    def step(self) -> None:
        """Set learning rate and weight decay of the next batch."""
        super().step()
        initial = [group.setdefault('initial_weight_decay', group['weight_decay']) for group in self.groups]
        highest = max(initial)
        step, last = self._global_step // self.accumulation, self.lengths[0] - 1
        decay = falling(self.final_weight_decay, highest, step, last)
        for group, base in zip(self.groups, initial, strict=True):
            group['weight_decay'] = decay * (base / highest) if highest else 0.0


def falling(end: float, start: float, step: int, last: int) -> float:
    """Return the value of a half cosine from ``start`` at step 0 to ``end`` at step ``last`` and after it."""
    last = max(last, 1)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(step, last) / last))
