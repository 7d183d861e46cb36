"""Networks in int8, calibrated on images and not trained again.

Convolutions and linear layers compute with 8 bits, weights with a scale a channel. The depthwise
convolutions keep their precision: tools/benchmarks/int8.py measures what that saves.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError
from .formats import Format
from .graph import Graph
from .images import Images

MIN_IMAGES, MAX_IMAGES = 32, 300


def check_calibration(graph: Graph, images: Images) -> None:
    """Raise UserError if int8 could not be made."""
    if graph.output == 'features':
        raise UserError('--int8 is judged by the classes of images, and the model has no head')
    if len(images) < MIN_IMAGES:
        raise UserError(
            f'--int8 is calibrated on at least {MIN_IMAGES} images, and there are {len(images)}; name a '
            'folder with about twice as many with --images'
        )


def quantize(
    form: Format, source: Path, target: Path, graph: Graph, images: Images, *, keep_depthwise: bool = True
) -> None:
    """Make an exported file one in int8.

    Args:
        form: of both.
        source: the file; is left as it is.
        target: the new one.
        graph: what is in the file.
        images: to calibrate on; 300 of them at most are taken.
        keep_depthwise: compute depthwise convolutions in fp32.
    """
    form.quantize(source, inputs(graph, images.spread(MAX_IMAGES)), target, keep_depthwise=keep_depthwise)


def inputs(graph: Graph, images: Images) -> Iterator[np.ndarray]:
    for number in range(len(images)):
        yield graph.input_of(images.batch(number, number + 1)[0]).numpy()
