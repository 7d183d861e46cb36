"""Convert weights between formats."""

from pathlib import Path

from ..checkpoints.formats import DIRECTORIES
from ..checkpoints.reading import Weights, check_class_count, check_whole
from ..checkpoints.writing import check_target, save_weights
from ..models.fitting import MAX_MODULES_NAMED, modules_of
from ..text import listed
from ..zoo.names import load_weights


def convert(
    source: str | Path,
    target: str | Path,
    *,
    source_format: str = 'auto',
    target_format: str = 'openmmlab',
    weights: str | None = None,
    trust_checkpoint: bool = False,
) -> Weights:
    """Convert weights to another format and write them.

    Args:
        source: see ``load_weights``.
        target: new file, or new directory for the format transformers.
        source_format: see ``load_weights``.
        target_format: one of ``FORMATS``.
        weights: see ``load_weights``.
        trust_checkpoint: whether to unpickle the source even if that runs code in it.

    Returns:
        The weights with the parameter names of this package.

    Raises:
        UserError: a parameter is unknown or missing, or the target format does not support the network;
            nothing has been written.
    """
    check_target(Path(target), target_format)
    loaded = load_weights(source, source_format, weights=weights, trust=trust_checkpoint)
    check_whole(loaded)
    check_class_count(loaded)
    save_weights(loaded, target, target_format)
    print(f'Wrote {target} ({target_format}) from {loaded.source} ({loaded.format})')
    print_left_out(loaded)
    lost = unsaid(loaded, target_format)
    if lost:
        print(f'Not said in {target}, since {target_format} has no words for it: {", ".join(lost)}')
    return loaded


def print_left_out(loaded: Weights) -> None:
    if loaded.left_out:
        parts = listed(modules_of(loaded.left_out), MAX_MODULES_NAMED)
        print(f'Left out, since our network has no place for it: {parts}')


def unsaid(loaded: Weights, target_format: str) -> list[str]:
    """Return options on which results depend but which a format cannot store."""
    if target_format == 'openmmlab':
        return []
    kind = ((loaded.network and loaded.network.head) or {}).get('kind', 'softmax')
    lost = []
    if target_format not in DIRECTORIES and kind != 'softmax':
        lost.append(f'the outputs are those of a {kind}')
    prepared = loaded.preprocessing
    if target_format in DIRECTORIES and prepared:
        if prepared.backend == 'cv2':
            lost.append('images are resized by OpenCV, whose results differ from those of Pillow')
        if prepared.unit != 255:
            lost.append(f'images keep their depth, in which {prepared.unit:g} counts as 1')
        if prepared.color == 'bgr':
            lost.append('channels are in the order blue, green, red')
    return lost
