"""Quantize networks to int8 with calibration on images, without training.

Convolutions and linear layers use 8 bits, with one scale per channel for weights. Depthwise convolutions can
keep their precision; tools/benchmarks/int8.py compares both.
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
    """Raise UserError if quantization is not possible."""
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
    """Convert an exported file to int8.

    Args:
        form: format of both files.
        source: exported file, which is not changed.
        target: new file.
        graph: graph in the file.
        images: images for calibration, of which at most 300 are used.
        keep_depthwise: whether to compute depthwise convolutions in fp32.
    """
    form.quantize(source, inputs(graph, images.spread(MAX_IMAGES)), target, keep_depthwise=keep_depthwise)


def inputs(graph: Graph, images: Images) -> Iterator[np.ndarray]:
    for number in range(len(images)):
        yield graph.input_of(images.batch(number, number + 1)[0]).numpy()
