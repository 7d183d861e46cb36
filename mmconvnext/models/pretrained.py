"""``init_cfg=dict(type='Pretrained', checkpoint='mmconvnext://NAME', prefix='backbone.')`` in any library."""

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..errors import UserError


# mmengine names the function, from its eleventh letter on, in its log.
@CheckpointLoader.register_scheme('mmconvnext://')
def load_from_mmconvnext(filename: str, map_location=None, **_) -> dict:
    """A checkpoint of the zoo: downloaded, verified and under our names."""
    from ..checkpoints import load_weights  # made of the models

    return dict(state_dict=load_weights(filename).tensors)


def check_pretrained(backbone: nn.Module, weights: dict[str, Tensor], *_) -> None:
    """Before pre-trained weights are loaded: see that they belong to this network.

    A classifier has one norm, which follows its pooling. Where several maps are normed it is left
    out: the official detectors and segmenters start with new norms behind every stage.

    Raises:
        UserError: weights of another architecture, or names that start with ``backbone.``.
    """
    from ..checkpoints.matching import check_fit  # made of the models

    if any(name.startswith('backbone.') for name in weights):
        raise UserError(
            "the names of the pre-trained weights start with 'backbone.': write "
            "init_cfg=dict(type='Pretrained', prefix='backbone.', ...)"
        )
    norms = {name for name in weights if name.startswith('norm')}
    if len({name.partition('.')[0] for name in norms}) == 1 < len(backbone.out_indices):
        for name in norms:
            del weights[name]
    check_fit(
        {f'backbone.{name}': weight for name, weight in weights.items()},
        nn.ModuleDict(dict(backbone=backbone)),
        'the pre-trained checkpoint',
        new_head=True,
    )
