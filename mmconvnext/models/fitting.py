"""Do these weights belong to this model? Also asked of those that mmengine loads.

``init_cfg=dict(type='Pretrained', checkpoint='mmconvnext://NAME', prefix='backbone.')`` works in any library.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..errors import UserError
from ..text import listed, shortened
from .inspecting import network_of, title


def check_fit(
    weights: dict[str, Tensor],
    model: nn.Module,
    source: str,
    *,
    new_head: bool = False,
    rename: Callable[[dict[str, Tensor]], dict[str, str]] | None = None,
) -> None:
    """Raise unless the weights have the model's names and shapes.

    Args:
        weights: name to tensor; nothing is copied.
        model: may be on the meta device.
        source: what to call the weights in the message.
        new_head: only the backbone has to fit, since the head is trained anew, and with it the
            norm in front of it, which FCMAE pre-training does not have.
        rename: gives the source's names for ours, for the message.

    Raises:
        UserError: the weights belong to another network, or listing what is missing, unexpected or of
            another shape.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    reshaped = [n for n, w in wanted.items() if n in weights and not same_shape(n, weights[n], w)]
    if new_head:
        missing = [name for name in missing if not name.startswith('backbone.norm')]
        missing, unexpected, reshaped = (
            [name for name in names if name.startswith('backbone.')]
            for names in (missing, unexpected, reshaped)
        )
    if not missing + unexpected + reshaped:
        return
    theirs = rename({**wanted, **weights}) if rename else {}

    def told(name: str) -> str:
        return shortened(theirs.get(name, name), 100)

    problems = [
        f'{len(entries)} {kind} ({listed(entries)})'
        for kind, entries in (
            ('missing', [f'{told(name)} {tuple(wanted[name].shape)}' for name in missing]),
            ('unexpected', [f'{told(name)} {tuple(weights[name].shape)}' for name in unexpected]),
            (
                'of another shape',
                [
                    f'{told(n)}: checkpoint {tuple(weights[n].shape)}, model {tuple(wanted[n].shape)}'
                    for n in reshaped
                ],
            ),
        )
        if entries
    ]
    found, expected = titles(weights, wanted)
    if found != expected:
        raise UserError(
            f'{source} does not fit the model: it holds the weights of {found}, the model is {expected}; '
            f'choose weights of that network, or its config. In detail: {"; ".join(problems)}'
        )
    raise UserError(
        f'{source} does not fit the model: {"; ".join(problems)}. '
        'Either the file is not whole, or it was made with another config.'
    )


def titles(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[str, str]:
    """What to call the networks of two sets of weights; twice nothing where one of them is not whole."""
    try:
        return title(network_of(weights)), title(network_of(wanted))
    except UserError:
        return '', ''


def head_changes(weights: dict[str, Tensor], model: nn.Module, source: str) -> str | None:
    """What starts anew though training starts from these weights, as a line for the log.

    Args:
        weights: name to tensor, which fit the backbone, see ``check_fit``.
        model: may be on the meta device.
        source: what to call the weights.
    """
    wanted = model.state_dict()
    left_out, new = [], [f'{n} {tuple(w.shape)}' for n, w in wanted.items() if n not in weights]
    for name, weight in weights.items():
        if name not in wanted:
            left_out.append(f'{name} {tuple(weight.shape)}, not in the model')
        elif not same_shape(name, weight, wanted[name]):
            left_out.append(f'{name} {tuple(weight.shape)}, in the model {tuple(wanted[name].shape)}')
    parts = [f'left out of it: {"; ".join(left_out)}'] if left_out else []
    # A detector that starts from a classifier has hundreds of them.
    parts += [f'{len(new)} not in it: {listed(new)}'] if new else []
    return f'{source} is loaded; trained anew are those {"; and ".join(parts)}' if parts else None


def same_shape(name: str, found: Tensor, wanted: Tensor) -> bool:
    """Linear layers and 1x1 convolutions count as the same, as ``ConvNeXtBlock`` loads either."""
    if '.pointwise_conv' in name and min(found.ndim, wanted.ndim) >= 2:
        found, wanted = found.flatten(1), wanted.flatten(1)
    return found.shape == wanted.shape


# mmengine names the function, from its eleventh letter on, in its log.
@CheckpointLoader.register_scheme('mmconvnext://')
def load_from_mmconvnext(filename: str, map_location=None, **_) -> dict:
    """A checkpoint of the zoo: downloaded, verified and under our names."""
    # The border at which mmengine asks for a name; the zoo stands on the models.
    from ..zoo.names import load_weights

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
