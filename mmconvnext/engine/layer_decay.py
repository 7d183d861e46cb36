"""Parameter groups of the official fine-tuning recipes."""

from collections import defaultdict

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Learning rates that shrink towards the stem; no weight decay on vectors and biases.

    ``paramwise_cfg`` takes ``layer_decay_rate`` and ``layer_decay_scheme`` (group, single or stage,
    see ``models.layer_depth``). Official ``optim_factory.py`` of V1 and V2: the rate of depth d out
    of n is lr * layer_decay_rate ** (n - 1 - d), and parameters of one dimension, biases and the
    parameters of GRN do not decay.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        known = {'layer_decay_rate', 'layer_decay_scheme'}
        if set(self.paramwise_cfg) != known:
            raise ValueError(f'paramwise_cfg has {sorted(self.paramwise_cfg)}; it needs {sorted(known)}')

    def add_params(self, params: list[dict], model: nn.Module) -> None:
        """Append one group for every depth and weight decay, the last depth first.

        mmengine logs the rate of the first group: so it is the one written in the config.
        """
        rate, scheme = self.paramwise_cfg['layer_decay_rate'], self.paramwise_cfg['layer_decay_scheme']
        groups = defaultdict(list)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                depth, count = model.backbone.get_layer_depth(name, 'backbone.', scheme)
                groups[count - 1 - depth, parameter.ndim > 1].append(parameter)
        for (steps, decays), members in sorted(groups.items(), key=lambda item: item[0]):
            params.append(
                dict(
                    params=members,
                    lr=self.base_lr * rate**steps,
                    weight_decay=self.base_wd if decays else 0.0,
                )
            )
