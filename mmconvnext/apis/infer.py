"""Predict images and write the results."""

import glob
from contextlib import nullcontext
from pathlib import Path

from ..errors import UserError, check_counts
from ..files import check_new_file, check_new_folder
from ..inference.classifier import ImageClassificationInferencer
from ..inference.dense import DenseInferencer
from ..inference.inputs import find_images, is_url
from ..inference.results import Summary, class_layout, dense_layout, results_file, track
from ..models.inference import optimized
from ..zoo.names import Named, find


def infer(
    inputs: list[str],
    *,
    model: str | None = None,
    checkpoint: str | None = None,
    topk: int = 5,
    batch_size: int = 32,
    min_score: float = 0.3,
    device: str | None = None,
    optimize: str | None = None,
    out: str | None = None,
    out_dir: str | None = None,
    trust_checkpoint: bool = False,
) -> None:
    """Classify images, or find objects or areas in them; print a table and write the requested files.

    Args:
        inputs: images, folders, patterns and URLs.
        model: published checkpoint, config or weights, see ``find``.
        checkpoint: other weights for the network; without ``model``, the network is inferred from them.
        topk: number of classes to list per image.
        batch_size: images per forward pass of a classifier.
        min_score: minimum score of the objects of a detector.
        device: default a GPU if there is one.
        optimize: ``fp32`` or ``bf16`` to optimize the network for inference.
        out: new file for the results, .json or .csv.
        out_dir: new folder for annotated images.
        trust_checkpoint: whether to unpickle the checkpoint even if that runs code in it.

    Raises:
        UserError: an argument has a mistake; or, at the end, images could not be read.
    """
    check_counts(batch_size=batch_size, topk=topk)
    if out_dir is not None:
        check_new_folder(out_dir)
    if out is not None:
        check_new_file(out, '.json', '.csv')
    network, weights = choose_model(model, checkpoint)
    check_inputs(inputs)  # mistakes in the command are reported before the model is loaded
    images = find_images(inputs)
    loading = dict(device=device, trust_checkpoint=trust_checkpoint)
    if network.is_dense:
        inferencer = DenseInferencer(network, weights, min_score=min_score, **loading)
        summary, layout = Summary(inferencer.finds), dense_layout(inferencer.finds)
        results = inferencer.stream(images, show_dir=out_dir)
    else:
        inferencer = ImageClassificationInferencer(network, weights, **loading)
        outputs = None if inferencer.regression else getattr(inferencer.model.head, 'num_classes', None)
        layout = class_layout(min(topk, outputs or topk), multi_label=inferencer.multi_label)
        summary = Summary('topk', percent=not inferencer.regression)
        results = inferencer.stream(images, batch_size=batch_size, topk=topk, show_dir=out_dir)
    form = nullcontext() if optimize is None else optimized(inferencer.model, optimize)
    with form, results_file(out, layout) as write:
        for result in track(results, total=len(images)):
            write(result)
            summary.add(result)
    summary.show(out, out_dir)


def check_inputs(inputs: list[str]) -> None:
    for source in inputs:
        if not (is_url(source) or glob.has_magic(source) or Path(source).expanduser().exists()):
            raise UserError(f'{source} does not exist; name an image, a folder, a "*.jpg" in quotes or a URL')


def choose_model(model: str | None, checkpoint: str | None) -> tuple[Named, Named | bool]:
    """Return the arguments ``model`` and ``pretrained`` of an inferencer.

    Raises:
        UserError: neither model nor checkpoint is given, or there are no weights.
    """
    weights = True if checkpoint is None else find(checkpoint, 'checkpoint')
    if checkpoint is not None and weights.entry is weights.weights is None:
        raise UserError(f'{checkpoint} is a config and holds no weights; name it with --model')
    if model is None:
        if checkpoint is None:
            raise UserError('which network? name one of model_zoo.md, a config or weights with --model')
        return weights, True
    named = find(model)
    if named.entry is named.weights is None and checkpoint is None:
        raise UserError(
            f'{named} is a config, and random weights predict nothing; name weights with --checkpoint, too'
        )
    return named, weights
