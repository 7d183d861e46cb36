"""The average of the weights that the official recipes evaluate."""

from collections.abc import Sequence

import torch
from mmengine import hooks
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..registry import HOOKS


class WeightAverage(ExponentialMovingAverage):
    """average = (1 - momentum) * average + momentum * weights, from the first update on.

    As ``timm.utils.ModelEma`` with ``decay = 1 - momentum``: parameters and buffers alike, except that
    whole numbers, as the counters of batch norm, are copied. mmengine's own copies the weights at its
    first update.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights of ``model``, which has the names of the averaged one."""
        weights = model.state_dict()
        averages, sources = [], []
        for name, average in self.avg_parameters.items():
            source = weights[name].to(average.device)
            if average.dtype.is_floating_point:
                averages.append(average)
                sources.append(source)
            else:
                average.copy_(source)
        # One call for all: a launch for each of hundreds of small tensors costs more than the arithmetic.
        get_ema_multi_avg_fn(1 - self.momentum)(averages, sources, None)
        self.steps += 1


@HOOKS.register_module()
class EMAHook(hooks.EMAHook):
    """mmengine's ``EMAHook`` that averages after every step of the optimizer, from the initial weights on.

    With accumulated gradients it updates when the optimizer does. The average starts from the weights
    that training starts from, after initialisation and ``load_from``, new head included; or it is the
    one of a checkpoint that is resumed. Checkpoints are those of mmengine's hook, and either resumes
    the other's.

    Args:
        momentum: 1 - the decay of the official code.
    """

    def __init__(self, momentum: float = 1e-4):
        super().__init__(ema_type=WeightAverage, momentum=momentum, update_buffers=True)

    def before_run(self, runner: Runner) -> None:
        super().before_run(runner)
        self.has_start = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # Other checkpoints reach the average through the model: see start.
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
        """Take over the weights of the model, once they are there, unless an average was resumed."""
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
