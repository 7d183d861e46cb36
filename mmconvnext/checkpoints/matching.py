"""Do these weights belong to this model?"""

import re
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from ..errors import UserError
from ..text import shortened
from .inspecting import network_of, title

# Of models wrapped for several processes, or compiled as a whole or in parts.
WRAPPERS = re.compile(r'^(module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.')

# What a checkpoint with an average has -> where the weights are and where their average is: our own of
# mmengine's EMAHook, those of timm's training script and those of the official code.
AVERAGED = {
    'ema_state_dict': dict(raw='ema_state_dict', ema='state_dict'),
    'state_dict_ema': dict(raw='state_dict', ema='state_dict_ema'),
    'model_ema': dict(raw='model', ema='model_ema'),
    'params_ema': dict(raw='params', ema='params_ema'),
}
# Where weights are if a file has several sets of tensors, the first of these that is there.
USUAL_PLACES = ('state_dict', 'model')
MAX_NESTING = 4  # dicts around weights


def weights_of(checkpoint: dict, which: str | None = None) -> dict[str, Tensor]:
    """Name to tensor, out of dicts such as ``state_dict``, without ``module.`` and ``_orig_mod.``.

    Args:
        checkpoint: what a file holds.
        which: ``ema`` for the average of the weights, ``raw`` for the weights themselves; None: the only
            ones in the file, or those under ``state_dict`` or ``model``, as they stand.

    Raises:
        UserError: there are no weights inside, not the ones asked for, several sets of them, or two tensors
            for one name.
    """
    place = (place_of(checkpoint, which),) if which is not None else usual_place(checkpoint)
    weights = checkpoint
    for key in place:
        weights = weights[key]
    found, names = {}, {}
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or not isinstance(name, str) or name == 'steps':
            continue  # mmengine counts updates in 'steps'
        inner = WRAPPERS.sub('', name)
        if inner in found:
            raise UserError(
                f'the checkpoint holds two tensors for {shortened(inner, 100)}: '
                f'{shortened(names[inner], 100)} and {shortened(name, 100)}; take one of them out of the file'
            )
        found[inner], names[inner] = weight, name
    if not found:
        keys = [shortened(key, 40) for key in checkpoint if isinstance(key, str)]
        raise UserError(f'the checkpoint holds no weights; its keys are {sorted(keys)[:10]}')
    return found


def usual_place(checkpoint: dict) -> tuple[str, ...]:
    """The keys that lead to the weights.

    Raises:
        UserError: there are several sets of them, and none where weights usually are.
    """
    places = list(places_of_weights(checkpoint, (), set()))
    for key in USUAL_PLACES:
        usual = [place for place in places if place[:1] == (key,)]
        places = usual or places
    if len(places) > 1:
        options = [shortened('/'.join(place), 40) for place in places]
        raise UserError(
            f'the checkpoint holds several sets of weights, under {", ".join(options[:10])}; save the one '
            "that you mean in a file of its own: torch.save(torch.load(FILE)['...'], NEW_FILE)"
        )
    return places[0] if places else ()


def places_of_weights(node: dict, place: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, ...]]:
    """The keys to each dict that has tensors with names such as ``stem.0.weight``."""
    tensors = [name for name, value in node.items() if isinstance(value, Tensor) and isinstance(name, str)]
    if any('.' in name for name in tensors) or (tensors and place and place[-1] in USUAL_PLACES):
        yield place
        return
    for name, value in node.items():
        if isinstance(value, dict) and isinstance(name, str) and id(value) not in seen:
            seen.add(id(value))
            if len(place) < MAX_NESTING:
                yield from places_of_weights(value, (*place, name), seen)


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


def listed(names: Sequence[str]) -> str:
    """The first few, for a message."""
    return ', '.join(shortened(name, 150) for name in names[:3]) + (', ...' if len(names) > 3 else '')
