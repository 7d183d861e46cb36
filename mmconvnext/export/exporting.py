"""Export a classifier to another runtime and compare the results."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from mmpretrain.models import ImageClassifier
from torch import nn

from ..errors import UserError
from ..files import check_place, put_in_place
from ..zoo.models import get_model
from ..zoo.names import check_has_classes, find
from .checking import check, check_accuracy
from .formats import Format, find_format, write
from .graph import Graph
from .images import real_images, why_unlabelled
from .int8 import check_calibration, quantize
from .metadata import metadata_of

WEIGHTS_OR_CONFIGS = ('.py', '.pth', '.pt', '.bin', '.safetensors', '.h5')


def export(
    config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    format: str,
    out: str | Path | None = None,
    preprocess: bool = False,
    softmax: bool = False,
    int8: bool = False,
    images: str | Path | None = None,
    trust_checkpoint: bool = False,
) -> Path:
    """Export a classifier, or a backbone without a head, to another runtime.

    The file accepts any number of images of any size. It is compared with PyTorch on real images before it is
    renamed to its final name.

    Args:
        config: config, published name, or weights in any format, from which the network is inferred.
        checkpoint: weights, see ``load_weights``; None: those of the name or file.
        format: name in ``FORMATS``.
        out: new file; default ``work_dirs/NAME`` with the suffix of the format.
        preprocess: whether the file takes images (N, H, W, channels) and normalizes them, see ``Graph``; or
            else images (N, channels, H, W), normalized as its metadata says.
        softmax: whether the file returns probabilities, or else logits.
        int8: whether to quantize to 8 bits, calibrated on images.
        images: folder of real images, see ``real_images``.
        trust_checkpoint: whether to unpickle the checkpoint even if that runs code in it.

    Returns:
        The exported file.

    Raises:
        UserError: an argument has a mistake, or the results differ from PyTorch's; nothing has been written.
    """
    form = find_format(format, int8=int8)
    name = str(config if checkpoint is None else checkpoint)
    target = check_target(out, name, form, int8=int8)
    model = load_classifier(config, checkpoint, trust_checkpoint, with_head=int8)
    graph = Graph(model, preprocess=preprocess, softmax=softmax).eval()
    calibrating, checking = real_images(model, images)
    if int8:
        check_calibration(graph, calibrating)
    example = graph.input_of(checking.batch(0, 1)[0].repeat(2, 1, 1, 1))
    metadata = metadata_of(name, model, graph)

    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f'.{target.name}.') as folder:
        part = Path(folder, 'fp32', target.name)
        part.parent.mkdir()
        write(graph, example, form, metadata, part)
        found = check(form, part, graph, model, checking)
        print(f'fp32: {found}' if int8 else f'{target}: {found}')
        if int8:
            source, part = part, Path(folder, 'int8', target.name)
            part.parent.mkdir()
            quantize(form, source, part, graph, calibrating)
            print(f'{target}: {check_accuracy(form, part, graph, model, checking)}')
            if not checking.labelled:
                print(f'Accuracies are not told: {why_unlabelled(model, Path(images).expanduser())}')
        for beside in sorted(part.parent.iterdir(), key=lambda file: file == part):  # itself last
            put_in_place(beside, target.parent / beside.name)
    return target


def check_target(out: str | Path | None, name: str, form: Format, *, int8: bool) -> Path:
    """Return the path of the file, checked before any long computation."""
    if out is None:
        bare = Path(name).stem if name.endswith(WEIGHTS_OR_CONFIGS) else Path(name).name
        return check_target(f'work_dirs/{bare}{"-int8" * int8}{form.suffix}', name, form, int8=int8)
    if int8 and form.quantize is None:
        raise UserError('--int8 is for --format onnx and openvino')
    target = Path(out)
    if target.suffix != form.suffix:
        raise UserError(f'--out {out} ends in {target.suffix!r}; for this format it should be {form.suffix}')
    for suffix in (form.suffix, form.beside):
        if suffix:
            check_place(target.with_suffix(suffix))
    return target


def load_classifier(
    config: str | Path, checkpoint: str | Path | None, trust: bool, *, with_head: bool = False
) -> nn.Module:
    """Load a model in evaluation mode; if a head is required but missing, raise before loading.

    Raises:
        UserError: the model is for another task; or see ``get_model``.
    """
    named = find(config)
    if named.entry is not None:
        headless = named.entry.num_classes is None
    else:
        headless = named.file is not None and named.config.model.get('head') is None
    if named.is_dense:
        raise UserError(f'{config} is a detector or segmenter; export is for classifiers and their backbones')
    if with_head and headless:
        raise UserError(f'--int8 is judged by the classes of images, and {config} has no head')
    if named.entry is None:  # the features of published encoders can be exported
        check_has_classes(named)
    model = get_model(named, True if checkpoint is None else checkpoint, trust_checkpoint=trust)
    if not isinstance(model, ImageClassifier):
        raise UserError(f'{config} is a {type(model).__name__}; export is for classifiers')
    if model._config.get('test_dataloader') is None:
        raise UserError(f'{config} has no test_dataloader, which defines the preprocessing')
    if not model.preprocessing_told:
        warnings.warn(
            f'{config} does not tell how its images were prepared, so the exported file will say: as those '
            'of ImageNet. If it was trained otherwise, name its config in front of it.',
            stacklevel=3,
        )
    return model.eval()
