"""The weight average (EMA) that the official recipes evaluate."""

from collections.abc import Sequence

import torch
from mmengine import hooks
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..registry import HOOKS


class WeightAverage(ExponentialMovingAverage):
    """Update ``average = (1 - momentum) * average + momentum * weights`` from the first step on.

    Equals ``timm.utils.ModelEma`` with ``decay = 1 - momentum``: parameters and buffers are averaged, and
    integers such as the counters of batch norm are copied. mmengine's class copies the weights at the first
    update.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average with the weights of ``model``, which has the same parameter names."""
        weights = model.state_dict()
        averages, sources = [], []
        for name, average in self.avg_parameters.items():
            source = weights[name].to(average.device)
            if average.dtype.is_floating_point:
                averages.append(average)
                sources.append(source)
            else:
                average.copy_(source)
        # One call for all: launches for hundreds of small tensors cost more than the arithmetic.
        get_ema_multi_avg_fn(1 - self.momentum)(averages, sources, None)
        self.steps += 1


@HOOKS.register_module()
class EMAHook(hooks.EMAHook):
    """mmengine's ``EMAHook``, but it averages after every optimizer step, starting with the initial weights.

    With accumulated gradients, the average is updated when the optimizer takes a step. It starts with the
    weights at the start of the training (after initialization and ``load_from``, including a new head), or
    with the average of a resumed checkpoint. Checkpoints have the format of mmengine's hook, and can be
    exchanged with it.

    Args:
        momentum: 1 minus the decay of the official code.
    """

    def __init__(self, momentum: float = 1e-4):
        super().__init__(ema_type=WeightAverage, momentum=momentum, update_buffers=True)

    def before_run(self, runner: Runner) -> None:
        super().before_run(runner)
        self.has_start = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # The average starts from other checkpoints through the model, see start.
        if runner._resume:
            super().after_load_checkpoint(runner, checkpoint)
            self.has_start = True

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.start()

    def before_val(self, runner: Runner) -> None:
        self.start()

    def before_test(self, runner: Runner) -> None:
        self.start()

    def start(self) -> None:
        """Copy the weights of the model after they are loaded, unless an average was resumed."""
        if not self.has_start:
            self.ema_model.module.load_state_dict(self.src_model.state_dict())
            self.has_start = True

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | dict[str, Tensor] | None = None,
    ) -> None:
        if runner.optim_wrapper.should_update():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
