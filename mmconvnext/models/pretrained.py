"""``init_cfg=dict(type='Pretrained', checkpoint='mmconvnext://NAME', prefix='backbone.')`` in any library."""

from collections import OrderedDict
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..errors import UserError
from .fitting import check_fit


# mmengine names the function, from its eleventh letter on, in its log.
@CheckpointLoader.register_scheme('mmconvnext://')
def load_from_mmconvnext(filename: str, map_location=None, **_) -> dict:
    """A checkpoint of the zoo: downloaded, verified and under our names."""
    # The border at which mmengine asks for a name; the zoo stands on the models.
    from ..zoo.weights import load_weights

    return dict(state_dict=from_file(load_weights(filename).tensors, filename))


class FileMetadata(dict):
    """The metadata of a state dict, which also tells every module from which file the weights are."""

    def __init__(self, source: str):
        super().__init__()
        self.source = source

    def get(self, module: str, default: Any = None) -> dict:
        return dict(super().get(module, default) or {}, source=self.source)


def from_file(weights: dict[str, Tensor], source: str) -> OrderedDict[str, Tensor]:
    """Mark weights that mmengine will load, so that ``check_loaded`` knows them."""
    marked = OrderedDict(weights)
    marked._metadata = FileMetadata(source)  # the attribute by which torch passes it to each module
    return marked


def check_loaded(backbone: nn.Module, weights: dict[str, Tensor], prefix: str, metadata: dict, *_) -> None:
    """Before mmengine loads a file into a model: see that its weights belong to the backbone in it.

    A backbone on its own, without a prefix, is that of ``init_cfg``: see ``check_pretrained``. mmengine only
    logs what does not fit, and a training starts from random weights.

    Raises:
        UserError: weights of another architecture.
    """
    parameters = dict(backbone.named_parameters())
    if (
        not prefix or 'source' not in metadata or any('flat_param' in name for name in parameters)
    ):  # sharded ones
        return
    check_fit(
        {f'backbone.{n.removeprefix(prefix)}': w for n, w in weights.items() if n.startswith(prefix)},
        nn.ModuleDict(dict(backbone=backbone)),
        metadata['source'],
        new_head=True,
    )


def check_pretrained(backbone: nn.Module, weights: dict[str, Tensor], *_) -> None:
    """Before pre-trained weights are loaded: see that they belong to this network.

    A classifier has one norm, which follows its pooling. Where several maps are normed it is left
    out: the official detectors and segmenters start with new norms behind every stage.

    Raises:
        UserError: weights of another architecture, or names that start with ``backbone.``.
    """
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
