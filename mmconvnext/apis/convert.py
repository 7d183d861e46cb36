"""From one format to another."""

from pathlib import Path

from ..checkpoints.formats import DIRECTORIES
from ..checkpoints.reading import Weights, check_class_count, check_whole
from ..checkpoints.writing import check_target, save_weights
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
    """Write the weights of one format in another.

    Args:
        source: see ``load_weights``.
        target: the file to make; of the format transformers, the directory.
        source_format: see ``load_weights``.
        target_format: one of ``FORMATS``.
        weights: see ``load_weights``.
        trust_checkpoint: unpickle whatever the source holds, which runs any code in it.

    Returns:
        The weights under our names.

    Raises:
        UserError: a name is unknown or missing, or the target format has no such network. Then
            nothing is written.
    """
    check_target(Path(target), target_format)
    loaded = load_weights(source, source_format, weights=weights, trust=trust_checkpoint)
    check_whole(loaded)
    check_class_count(loaded)
    save_weights(loaded, target, target_format)
    print(f'Wrote {target} ({target_format}) from {loaded.source} ({loaded.format})')
    if loaded.left_out:
        print(f'Left out, since our network has no place for it: {listed(loaded.left_out)}')
    lost = unsaid(loaded, target_format)
    if lost:
        print(f'Not said in {target}, since {target_format} has no words for it: {", ".join(lost)}')
    return loaded


def unsaid(loaded: Weights, target_format: str) -> list[str]:
    """What results depend on and a format cannot say."""
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
