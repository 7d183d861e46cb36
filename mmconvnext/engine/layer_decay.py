"""Parameter groups of the official fine-tuning recipes."""

from collections import defaultdict

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Decrease learning rates towards the stem, and exclude vectors and biases from weight decay.

    ``paramwise_cfg`` takes ``layer_decay_rate`` and ``layer_decay_scheme`` (group, single or stage,
    see ``models.layer_depth``). As in the official ``optim_factory.py`` of V1
    and V2, the rate of depth d out of n is lr * layer_decay_rate ** (n - 1 - d), and one-dimensional
    parameters, biases and the parameters of GRN have no weight decay.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        known = {'layer_decay_rate', 'layer_decay_scheme'}
        if set(self.paramwise_cfg) != known:
            raise ValueError(f'paramwise_cfg has {sorted(self.paramwise_cfg)}; it needs {sorted(known)}')

    def add_params(self, params: list[dict], model: nn.Module) -> None:
        """Append one group per depth and weight decay, the last depth first.

        mmengine logs the rate of the first group, which is thus that of the config.
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
