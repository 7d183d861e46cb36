"""Do these weights belong to this model?"""

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import UserError


def weights_of(checkpoint: dict) -> dict[str, Tensor]:
    """Name to tensor, out of the wrappings ``state_dict``, ``model`` and ``module.``.

    Raises:
        UserError: there are no weights inside.
    """
    weights = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), dict):
            weights = checkpoint[key]
            break
    weights = {
        name.removeprefix('module.'): w
        for name, w in weights.items()
        if isinstance(w, Tensor) and isinstance(name, str)
    }
    if not weights:
        raise UserError(f'the checkpoint holds no weights; its keys are {sorted(map(str, checkpoint))[:10]}')
    return weights


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


def same_shape(name: str, found: Tensor, wanted: Tensor) -> bool:
    """Linear layers and 1x1 convolutions count as the same, as ``ConvNeXtBlock`` loads either."""
    if '.pointwise_conv' in name and min(found.ndim, wanted.ndim) >= 2:
        found, wanted = found.flatten(1), wanted.flatten(1)
    return found.shape == wanted.shape


def listed(names: Sequence[str]) -> str:
    """The first few, for a message."""
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
