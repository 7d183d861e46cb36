"""The learning rate of the official recipes, step by step."""

import math

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch.optim import Optimizer

from ..errors import UserError
from ..registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up from 0, then half a cosine down to ``min_lr``, both in optimizer steps.

    Official V1 ``utils.py`` (``cosine_scheduler``) and V2 ``utils.py`` (``adjust_learning_rate``). The rate
    stays the same while gradients accumulate. Every parameter group keeps its share of the highest
    initial rate, as ``lr_scale`` in the official code: with layer decay it scales ``min_lr``, too.

    In a config, by epochs or, with ``by_epoch=False``, by iterations::

        dict(type='mmconvnext.WarmupCosineLR', convert_to_iter_based=True, epochs=300, warmup_epochs=20)
        dict(type='mmconvnext.WarmupCosineLR', by_epoch=False, iterations=160000, warmup_iterations=1500)

    Args:
        optimizer: whose groups to set; an ``OptimWrapper`` also says how many iterations make a step.
        iterations: length of the whole curve, in batches; afterwards the rate stays as it is.
        warmup_iterations: length of the warm-up, in batches.
        min_lr: where the cosine ends, absolute, of a group with the highest initial rate.
        warmup_reaches_peak: whether the last step of the warm-up has the full rate (V1) or the first step
            after it (V2).
        by_epoch: False; there to tell mmengine.
        end: mmengine gives the length of the training, which may be stopped before the curve ends.

    Raises:
        UserError: the warm-up is as long as the curve, or a number is negative.
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
        # mmengine has no public name for it.
        self.accumulation = getattr(optimizer, '_accumulative_counts', 1)
        self.iterations, self.warmup_iterations = iterations, warmup_iterations
        self.min_lr, self.warmup_reaches_peak = min_lr, warmup_reaches_peak
        super().__init__(optimizer, 'lr', end=iterations, by_epoch=False)
        # Else mmengine warns that a step of the schedule came before one of the optimizer.
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
        """What mmengine calls for ``convert_to_iter_based``; ``epoch_length`` in batches."""
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
        # mmengine appends settings to the groups of a wrapper that belong to no parameter.
        groups = getattr(self.optimizer, 'optimizer', self.optimizer).param_groups
        peak = max(self.base_values[: len(groups)])
        rate = self.rate(self._global_step // self.accumulation, peak)
        return [rate * (base / peak) if peak else 0.0 for base in self.base_values]

    def rate(self, step: int, peak: float) -> float:
        """The rate of an optimizer step, from 0 on, for a group whose initial rate is ``peak``."""
        steps, warmup = self.iterations // self.accumulation, self.warmup_iterations // self.accumulation
        if step < warmup:
            # Written as numpy.linspace has it, which is exact to the last bit.
            last = max(warmup - 1, 1) if self.warmup_reaches_peak else warmup
            return peak if step == last else step * (peak / last)
        # The last batches need not fill a step.
        done, n = step - warmup, max(steps - warmup, 1)
        return self.min_lr + 0.5 * (peak - self.min_lr) * (1 + math.cos(math.pi * min(done, n) / n))

    def go_to(self, iterations: int) -> None:
        """Set the rates of the place behind so many iterations."""
        self._global_step = self.last_step = iterations - 1
        self.step()

    def state_dict(self) -> dict:
        """How far it came and from which rates; the curve itself is the config's."""
        return {name: getattr(self, name) for name in ('_global_step', 'last_step', 'base_values')}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a state of this or of any scheduler of mmengine that counted iterations."""
        self.__dict__.update({name: state_dict[name] for name in self.state_dict()})
        self._last_value = [group['lr'] for group in self.optimizer.param_groups]
