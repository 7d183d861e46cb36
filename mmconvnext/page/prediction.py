"""Predictions and explanations for one image, and predictions for several."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from mmengine.dataset import default_collate
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..explanation import grad_cam
from ..inference.inputs import Given
from ..inference.results import class_layout, results_file
from ..memory import enough_memory
from ..models.linear_head import rank, scores_of
from ..models.outputs import outputs_of
from ..reports.pictures import rgb_of
from .models import Model
from .uploads import Upload, check_image

COLORS = matplotlib.colormaps['inferno']
STRONGEST = 0.8  # opacity of the color where the heat is 1; where it is 0, only the image is visible
SHOWN_SIDE = 448  # pixels, at least
NO_MEMORY = 'there is too little memory for this network and its images; choose a smaller network'
TOPK = 5  # classes per image
BATCH = 8  # images that go through the network at once


class Prepared(NamedTuple):
    """A preprocessed image.

    Attributes:
        pixels: (H, W, 3) in RGB, uint8.
        inputs: (1, 3, H, W), normalized.
    """

    pixels: np.ndarray
    inputs: Tensor


class Prediction(NamedTuple):
    """
    Attributes:
        scores: class -> probability, best first.
        milliseconds: time of the network.
    """

    scores: dict[str, float]
    milliseconds: float


def prepare(model: Model, upload: Upload) -> Prepared:
    """
    Raises:
        UserError: it is no whole image of a known format and size.
    """
    try:
        check_image(upload)
        sample, _ = model.inferencer.pipeline.prepare(str(upload.path))
    except UserError as error:
        raise UserError(f'{upload.name}: {upload.told(str(error))}') from error
    with torch.inference_mode():
        inputs = model.inferencer.model.data_preprocessor(default_collate([sample]))['inputs']
    return Prepared(rgb_of(sample['inputs']), inputs)


def predict(model: Model, image: Prepared) -> Prediction:
    """Predict the most likely classes of an image."""
    with model.lock, torch.inference_mode(), enough_memory(NO_MEMORY):
        if not model.warm:  # the first image takes longer, because memory is allocated and kernels are chosen
            outputs_of(model.inferencer.model, image.inputs)
            model.warm = True
        wait_for(model.device)
        start = time.perf_counter()
        logits = outputs_of(model.inferencer.model, image.inputs).logits
        wait_for(model.device)
        milliseconds = 1000 * (time.perf_counter() - start)
    scores = scores_of(model.inferencer.model.head, logits.float())[0].cpu()
    if not scores.isfinite().all():
        raise UserError(f'{model.name} gives scores that are not finite; check its weights')
    ranked = {one['class']: one['score'] for one in rank(scores, TOPK, model.names)}
    return Prediction(ranked, milliseconds)


def wait_for(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def explain(model: Model, image: Prepared, name: str) -> Image.Image:
    """Return the preprocessed image with the heat map of Grad-CAM for a class."""
    network = model.inferencer.model
    label = torch.tensor([model.names.index(name)])
    with model.lock, enough_memory(NO_MEMORY):
        (heat,) = grad_cam(network, image.inputs, label)
    return overlaid(image.pixels, heat.cpu().numpy())


def overlaid(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """Overlay a heat map (H, W) on the gray image (H, W, 3), enlarged for display."""
    height, width = heat.shape
    times = -(-SHOWN_SIDE // max(height, width))
    size = (times * width, times * height)
    grey = np.asarray(Image.fromarray(pixels).convert('L').resize(size, Image.Resampling.BICUBIC))
    heat = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    share = STRONGEST * heat[..., None]
    mixed = share * 255 * COLORS(heat)[..., :3] + (1 - share) * grey[..., None]
    return Image.fromarray(mixed.round().astype(np.uint8))


def classify_all(model: Model, uploads: Sequence[Upload]) -> Iterator[dict]:
    """Return results of ``ImageClassificationInferencer`` with the user's file names as ``path``."""
    for begin in range(0, len(uploads), BATCH):
        batch = uploads[begin : begin + BATCH]
        refused = {upload: error for upload in batch if (error := fault(upload)) is not None}
        images = [Given(str(upload.path), upload.name, '') for upload in batch if upload not in refused]
        with model.lock:  # other requests get their turn between two batches
            results = iter(list(model.inferencer.stream(images, batch_size=BATCH, topk=TOPK)))
        for upload in batch:
            if upload in refused:
                yield dict(path=upload.name, error=refused[upload])
            else:
                result = next(results)
                if 'error' in result:
                    result['error'] = upload.told(result['error'])
                for best in result.get('topk', ()):
                    best['class'] = model.names[best['label']]
                yield result


def fault(upload: Upload) -> str | None:
    """Return the error in the header of an image, if any."""
    try:
        check_image(upload)
    except UserError as error:
        return str(error)
    return None


def write_csv(results: Iterable[dict], file: Path) -> None:
    """Write one line per image."""
    with results_file(file, class_layout(TOPK)) as write:
        for result in results:
            write(result)
