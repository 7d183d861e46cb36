"""Compute features of images with a frozen network."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import default_collate
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ..datasets.replay import is_broken_image
from ..errors import UserError
from ..memory import enough_memory
from ..text import one_line
from .inputs import MAX_THREADS, read_ahead


class Features(NamedTuple):
    """
    Attributes:
        values: (images, channels), float64.
        labels: (images,), class numbers.
        broken: a line for each image that cannot be read, with its path and the reason.
    """

    values: np.ndarray
    labels: np.ndarray
    broken: list[str]


def extract_features(
    model: nn.Module, dataset: Dataset, indices: Sequence[int], *, batch_size: int, title: str
) -> Features:
    """Compute the features of images of a dataset, in their order.

    Args:
        model: model in evaluation mode, see ``pooled_features``.
        dataset: dataset of packed samples with one label each.
        indices: which images.
        batch_size: images per forward pass.
        title: name of the progress bar.

    Raises:
        UserError: features are not finite, or the network does not take the images.
    """
    threads = min(MAX_THREADS, (os.cpu_count() or 1) + 4)  # some threads wait for the disk
    values, labels, broken = [], [], []

    def load(index: int) -> dict | str:
        try:
            return dataset[index]
        except Exception as error:  # decoders and transforms raise any exception
            if not is_broken_image(error):
                raise
            path = dataset.get_data_info(index).get('img_path', f'image {index}')
            return one_line(error) if str(path) in str(error) else f'{path}: {one_line(error)}'

    bar = tqdm(total=len(indices), desc=title, delay=1, disable=None)  # unless stderr is a terminal
    with ThreadPoolExecutor(threads) as pool, bar:
        try:
            loaded = read_ahead(pool, load, indices, batch_size + threads)
            while batch := list(islice(loaded, batch_size)):
                samples = [sample for sample in batch if not isinstance(sample, str)]
                broken += [reason for reason in batch if isinstance(reason, str)]
                labels += [int(sample['data_samples'].gt_label) for sample in samples]
                with enough_memory('there is too little memory for a batch; choose a smaller --batch-size'):
                    values += [pooled_features(model, part).cpu() for part in alike(samples)]
                bar.update(len(batch))
        finally:
            pool.shutdown(cancel_futures=True)
    found = torch.cat(values).double().numpy() if values else np.empty((0, 0))
    if not np.isfinite(found).all():
        raise UserError('the network gives features that are not finite; check its weights')
    return Features(found, np.array(labels, int), broken)


def alike(samples: list[dict]) -> Iterator[list[dict]]:
    """Yield batches of images of one size; pipelines without a crop give several."""
    if len({sample['inputs'].shape for sample in samples}) == 1:
        yield samples
    else:
        yield from ([sample] for sample in samples)


@torch.inference_mode()
def pooled_features(model: nn.Module, samples: list[dict]) -> Tensor:
    """Return the last features of a network, averaged over the positions of the image, (N, C).

    The final norm of a ConvNeXt takes part if it is trained. A pre-training has none; a new one in its place
    would give the same weights other features with another config.

    Args:
        model: classifier or pre-training with a data preprocessor and a backbone, in evaluation mode.
        samples: packed samples with images of one size.
    """
    inputs = model.data_preprocessor(default_collate(samples), False)['inputs']
    if has_new_norm(model.backbone):
        features = model.backbone.hidden_states(inputs)[-1]
    else:
        features = model.extract_feat(inputs)[-1]
    return features.mean((2, 3)) if features.ndim == 4 else features


def has_new_norm(backbone: nn.Module) -> bool:
    """Return whether the last stage has a final norm with initial weights, which trained ones never are."""
    norm = getattr(backbone, f'norm{len(getattr(backbone, "depths", ())) - 1}', None)
    if norm is None or not hasattr(backbone, 'hidden_states'):
        return False
    return all((weight == name.endswith('weight')).all() for name, weight in norm.named_parameters())
