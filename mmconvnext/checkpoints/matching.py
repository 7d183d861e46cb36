"""Do these weights belong to this model?"""

import re
from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import UserError

# Of models wrapped for several processes, or compiled as a whole or in parts.
WRAPPERS = re.compile(r'^(module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.')

# What a checkpoint with an average has -> where the weights are and where their average is: our own of
# mmengine's EMAHook, those of timm's training script and those of the official code.
AVERAGED = {
    'ema_state_dict': dict(raw='ema_state_dict', ema='state_dict'),
    'state_dict_ema': dict(raw='state_dict', ema='state_dict_ema'),
    'model_ema': dict(raw='model', ema='model_ema'),
}


def weights_of(checkpoint: dict, which: str | None = None) -> dict[str, Tensor]:
    """Name to tensor, out of the wrappings ``state_dict``, ``model``, ``module.`` and ``_orig_mod.``.

    Args:
        checkpoint: what a file holds.
        which: ``ema`` for the average of the weights, ``raw`` for the weights themselves; None: under
            ``state_dict`` or ``model``, as it stands.

    Raises:
        UserError: there are no weights inside, or not the ones asked for.
    """
    if which is not None:
        weights = checkpoint[place_of(checkpoint, which)]
    else:
        places = [key for key in ('state_dict', 'model') if isinstance(checkpoint.get(key), dict)]
        weights = checkpoint[places[0]] if places else checkpoint
    weights = {
        WRAPPERS.sub('', name): w
        for name, w in weights.items()
        if isinstance(w, Tensor) and isinstance(name, str) and name != 'steps'  # mmengine's count of updates
    }
    if not weights:
        raise UserError(f'the checkpoint holds no weights; its keys are {sorted(map(str, checkpoint))[:10]}')
    return weights


def place_of(checkpoint: dict, which: str) -> str:
    """The key under which a checkpoint keeps its weights or their average."""
    for key, places in AVERAGED.items():
        if key in checkpoint and all(isinstance(checkpoint.get(place), dict) for place in places.values()):
            return places[which]
    present = [key for key in ('state_dict', 'model', *AVERAGED) if isinstance(checkpoint.get(key), dict)]
    raise UserError(
        f'--weights {which}: the checkpoint has one set of weights'
        f'{f", under {present[0]}," if present else ""} and does not say whether it is an average; '
        'leave out --weights to take it'
    )


def check_fit(weights: dict[str, Tensor], model: nn.Module, source: str, *, new_head: bool = False) -> None:
    """Raise unless the weights have the model's names and shapes.

    Args:
        weights: name to tensor; nothing is copied.
        model: may be on the meta device.
        source: what to call the weights in the message.
        new_head: only the backbone has to fit, since the head is trained anew, and with it the
            norm in front of it, which FCMAE pre-training does not have.

    Raises:
        UserError: listing what is missing, unexpected or of another shape.
    """
    wanted = model.state_dict()
    missing = [f'{n} {tuple(w.shape)}' for n, w in wanted.items() if n not in weights]
    unexpected = [f'{n} {tuple(w.shape)}' for n, w in weights.items() if n not in wanted]
    reshaped = [
        f'{n}: checkpoint {tuple(weights[n].shape)}, model {tuple(w.shape)}'
        for n, w in wanted.items()
        if n in weights and not same_shape(n, weights[n], w)
    ]
    if new_head:
        missing = [entry for entry in missing if not entry.startswith('backbone.norm')]
        missing, unexpected, reshaped = (
            [entry for entry in entries if entry.startswith('backbone.')]
            for entries in (missing, unexpected, reshaped)
        )
    problems = [
        f'{len(entries)} {kind} ({listed(entries)})'
        for kind, entries in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', reshaped),
        )
        if entries
    ]
    if problems:
        raise UserError(
            f'{source} does not fit the model: {"; ".join(problems)}. '
            'Either the file is not whole, or it was made with another config.'
        )


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


def listed(names: Sequence[str]) -> str:
    """The first few, for a message."""
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
