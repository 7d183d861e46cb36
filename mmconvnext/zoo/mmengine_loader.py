"""Let mmengine, too, read checkpoints as data only, and in any format."""

from pathlib import Path

from mmengine.runner import CheckpointLoader

from ..checkpoints.loading import load_checkpoint
from ..checkpoints.reading import Weights, recognise, weights_of
from ..errors import UserError
from ..models.fitting import from_file
from .names import find, load_weights

# mmengine's loaders for these unpickle without asking what is inside.
UNSAFE_SCHEMES = (
    *('modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://', 'pavi://'),
    *(r'(\S+\:)?s3://', r'(\S+\:)?petrel://'),
)


def use_safe_loading(*, trust: bool = False, weights: str | None = None) -> None:
    """From now on mmengine reads files, URLs and ``mmconvnext://NAME`` by our loaders, and nothing else.

    A program that builds ``Runner.from_cfg(cfg)`` itself calls it once before: weights of every format then
    load from ``load_from`` and ``init_cfg``, no code in a checkpoint runs, and weights that do not fit our
    backbone raise an error, where mmengine logs a warning and starts from random ones.

    Args:
        trust: see ``load_checkpoint``.
        weights: see ``load_weights``.
    """

    # mmengine names the function, from its eleventh letter on, in its log.
    def load_from_mmconvnext(filename: str, map_location=None, **_) -> dict:
        named = find(filename, 'checkpoint')
        if named.weights is None or Path(named.weights).is_dir():
            tensors = load_weights(named, weights=weights, trust=trust).tensors
            return dict(state_dict=from_file(tensors, filename))
        checkpoint = load_checkpoint(named.weights, map_location, trust=trust)
        tensors = weights_of(checkpoint, weights)
        try:
            found = recognise(tensors, filename)
        except UserError:  # the weights of another model
            found = None
        if found is not None and not has_our_names(found):
            return dict(state_dict=from_file(found.tensors, filename))
        # mmengine looks for weights under state_dict only, and takes all else for weights.
        return dict(checkpoint if 'state_dict' in checkpoint else {}, state_dict=from_file(tensors, filename))

    sources = ('', 'http://', 'https://', 'mmconvnext://')
    CheckpointLoader.register_scheme(sources, load_from_mmconvnext, force=True)
    CheckpointLoader.register_scheme(UNSAFE_SCHEMES, _refuse, force=True)


def has_our_names(found: Weights) -> bool:
    """Whether the names of a file are ours, perhaps of a backbone alone, which ``init_cfg`` starts from."""
    return found.format == 'openmmlab' and (
        all(ours == theirs for ours, theirs in found.names.items())
        or all(ours == f'backbone.{theirs}' for ours, theirs in found.names.items())
    )


def _refuse(filename: str, map_location=None, **_) -> dict:
    raise UserError(
        f'checkpoint {filename}: only files, http(s) URLs and mmconvnext:// names are read; download it '
        'and name the file'
    )
