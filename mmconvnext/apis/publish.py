"""Extract the weights from a training checkpoint for publication."""

from datetime import date
from hashlib import sha256
from pathlib import Path

from ..checkpoints.reading import check_whole
from ..checkpoints.writing import save_weights
from ..errors import UserError
from ..files import check_place
from ..zoo.names import load_weights
from .convert import print_left_out


def publish(source: str | Path, target: str | Path, *, trust_checkpoint: bool = False) -> Path:
    """Write only the weights, to a file whose name ends with the date and the start of its SHA-256.

    Args:
        source: weights in any format. If the run averaged its weights, mmengine stores the average in
            ``state_dict``, so the average is published.
        target: name of the new file without date and hash: ``zoo/convnext-tiny_mine.pth`` becomes
            ``zoo/convnext-tiny_mine_20260131-0123abcd.pth``; ``.safetensors`` works too.
        trust_checkpoint: see ``load_checkpoint``.

    Returns:
        The file.

    Raises:
        UserError: the weights are incomplete, or the target cannot be written.
    """
    target = Path(target)
    if target.suffix not in ('.pth', '.safetensors'):
        raise UserError(f'{target} ends in {target.suffix!r}; expected .pth or .safetensors')
    check_place(target)
    loaded = load_weights(source, trust=trust_checkpoint)
    check_whole(loaded)
    save_weights(loaded, target, 'openmmlab')
    digest = sha256(target.read_bytes()).hexdigest()[:8]
    published = target.with_name(f'{target.stem}_{date.today():%Y%m%d}-{digest}{target.suffix}')
    target.rename(published)
    print(f'Wrote {published} ({published.stat().st_size:,} bytes)')
    print_left_out(loaded)
    return published
