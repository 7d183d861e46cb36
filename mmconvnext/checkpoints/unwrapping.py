"""Which of the tensors in a checkpoint are the weights?"""

import re
from collections.abc import Iterator

from torch import Tensor

from ..errors import UserError
from ..text import shortened

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
