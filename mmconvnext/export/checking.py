"""Compare the results of an exported file with PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..models.linear_head import scores_of
from .formats import Format
from .graph import Graph
from .images import Images

# Relative to the largest output.
TOLERANCE = 1e-4
# Minimum fraction of images with the same class in int8 and PyTorch.
LEAST_AGREEMENT = 0.9
CHECKED, EVALUATED, AT_ONCE = 8, 1000, 8

Run = Callable[[np.ndarray], np.ndarray]


class Accuracy(NamedTuple):
    """Accuracies of an exported file and of PyTorch.

    Attributes:
        images: number of images.
        agreement: fraction of images with the same class in both.
        error: root mean square of the differences of outputs, relative to that of PyTorch's outputs.
        file: accuracy of the file as a fraction; None without labels.
        torch: accuracy of PyTorch as a fraction; None without labels.
    """

    images: int
    agreement: float
    error: float
    file: float | None
    torch: float | None

    def __str__(self) -> str:
        told = f'the same class as PyTorch for {self.agreement:.1%} of {self.images} images'
        return told if self.file is None else f'{told}, top-1 {self.file:.1%} (PyTorch {self.torch:.1%})'


def check(form: Format, file: Path, graph: Graph, model: nn.Module, images: Images) -> str:
    """Compare outputs for several images, one image, two of another size, and one of the minimum size.

    Args:
        form: format of the file.
        file: exported file.
        graph: exported graph.
        model: original model, which uses its own preprocessing.
        images: real images.

    Returns:
        A sentence about the differences with the default settings of the runtime.

    Raises:
        UserError: in the precision of the file, an output differs by more than ``TOLERANCE`` of the largest.
    """
    runs = [form.load(file)]
    if form.load_by_default is not None:
        run, precision = form.load_by_default(file)
        runs += [run] if precision != 'f32' else []
    pixels, _ = images.spread(CHECKED).batch(0, CHECKED)
    height, width = pixels.shape[2:]
    batches = (
        pixels,
        pixels[:1],
        # Large enough that every map is larger.
        resized(pixels[:2], height + graph.min_size + 5, width + 2 * graph.min_size + 18),
        resized(pixels[:1], graph.min_size, graph.min_size),
    )
    errors = []
    for batch in batches:
        given, expected = graph.input_of(batch).numpy(), reference(model, graph, batch)
        errors.append([np.abs(run(given) - expected).max() / np.abs(expected).max() for run in runs])
    error, *by_default = np.max(errors, axis=0)  # also true for NaN
    sizes = ', '.join(f'{len(batch)} x {batch.shape[2]} x {batch.shape[3]}' for batch in batches)
    if not error <= TOLERANCE:
        raise UserError(
            f'the exported file differs from PyTorch by {error:.1e} of the largest output, more than '
            f'{TOLERANCE:.0e}, on images of {sizes} pixels; nothing was written'
        )
    found = f'max error {error:.1e} of the largest output'
    for larger in by_default:
        found = (
            f'max error {larger:.1e} of the largest output in {precision}, the default of the runtime on '
            f'this processor, and {error:.1e} with {form.exact}'
        )
    return f'{found}, on real images of {sizes} pixels'


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(pixels.float(), (height, width), mode='bilinear').to(pixels.dtype)


def check_accuracy(form: Format, file: Path, graph: Graph, model: nn.Module, images: Images) -> str:
    """Compare the classes of an int8 file with those of PyTorch, with the default settings of the runtime.

    Raises:
        UserError: the classes differ for more than a few images.
    """
    run = form.load(file) if form.load_by_default is None else form.load_by_default(file)[0]
    found = accuracy(run, graph, model, images.spread(EVALUATED))
    if found.agreement < LEAST_AGREEMENT:
        raise UserError(
            f'int8 is not good enough: {found}, of which {LEAST_AGREEMENT:.0%} should have the same; nothing '
            'was written. Calibrate on more images, or leave out --int8'
        )
    return str(found)


def accuracy(run: Run, graph: Graph, model: nn.Module, images: Images) -> Accuracy:
    """Return the accuracy over all images."""
    pairs, labels = [], []
    for start in range(0, len(images), AT_ONCE):
        pixels, these = images.batch(start, start + AT_ONCE)
        pairs.append((run(graph.input_of(pixels).numpy()), reference(model, graph, pixels)))
        labels.extend(these or [])
    got, expected = (np.concatenate(outputs) for outputs in zip(*pairs, strict=True))
    error = np.sqrt(np.square(got - expected).mean() / np.square(expected).mean())
    classes, classes_of_torch = got.argmax(1), expected.argmax(1)
    right = (
        [float((each == labels).mean()) for each in (classes, classes_of_torch)] if labels else [None, None]
    )
    return Accuracy(len(images), float((classes == classes_of_torch).mean()), float(error), *right)


@torch.inference_mode()
def reference(model: nn.Module, graph: Graph, pixels: Tensor) -> np.ndarray:
    """Compute the outputs with PyTorch, the model's own preprocessing and its unchanged weights."""
    outputs = model(model.data_preprocessor(dict(inputs=pixels))['inputs'], mode='tensor')
    if graph.output == 'features':
        outputs = outputs[-1]
    return (scores_of(model.head, outputs) if graph.softmax else outputs).numpy()
