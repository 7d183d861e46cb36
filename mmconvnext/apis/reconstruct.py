"""Draw what a masked pre-training reconstructs of images."""

import warnings
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ..config.loading import find_type
from ..config.pipeline_steps import kind
from ..config.unaugmented import unaugmented_pipeline
from ..datasets.replay import draws_put_back, seed_draws
from ..errors import UserError
from ..files import check_new_file
from ..inference.classifier import check_device
from ..inference.inputs import Given, TestPipeline, find_images
from ..models.masked_autoencoder import MaskedAutoencoder
from ..reports.reconstruction import reconstruct_sample, save_reconstructions
from ..text import printable
from ..zoo.models import get_model
from ..zoo.names import load_config
from .infer import check_inputs

MAX_IMAGES = 32  # in a picture


def reconstruct(
    inputs: list[str],
    config: str | Path,
    checkpoint: str | Path,
    *,
    out: str | Path,
    seed: int = 0,
    mask_ratio: float | None = None,
    device: str | None = None,
    trust_checkpoint: bool = False,
) -> None:
    """Draw images, the same with patches removed, and what a pre-trained network predicts there.

    The images are resized and cropped at their center to the size of the config's crop. The predicted patches
    get mean and deviation of the original ones, which the network does not predict.

    Args:
        inputs: images, folders, patterns and URLs; of many images, some are drawn, evenly spaced.
        config: config of the pre-training, see ``load_config``.
        checkpoint: checkpoint of the pre-training.
        out: new file for the picture, .png.
        seed: seed of the mask, which is the same for all images of a size.
        mask_ratio: part of the patches to remove; None: that of the config.
        device: default a GPU if there is one.
        trust_checkpoint: whether to unpickle the checkpoint even if that runs code in it.

    Raises:
        UserError: an argument has a mistake; or, at the end, images could not be read.
    """
    check_new_file(out, '.png')
    check_device(device)
    if seed < 0:
        raise UserError(f'--seed is {seed}; it should be a whole number from 0 on')
    pipeline = masking_pipeline(load_config(config), str(config), mask_ratio)
    check_inputs(inputs)
    images = evenly_spaced(find_images(inputs))
    model = get_model(config, checkpoint, trust_checkpoint=trust_checkpoint)
    model.eval().to(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    rows, broken = [], []
    for given in images:
        try:
            with draws_put_back():
                seed_draws(seed, 0, 0)
                sample, _ = pipeline.prepare(given.image)
        except UserError as error:
            broken.append(f'  {printable(given.path)}: {printable(str(error))}')
            continue
        rows.append(reconstruct_sample(model, sample, given.path))
    if rows:
        save_reconstructions(rows, out)
        print(f'Wrote {printable(str(out))}')
    if broken:
        raise UserError(
            f'{len(broken)} of {len(images)} images could not be read'
            f'{"; the others are drawn" if rows else ""}:\n' + '\n'.join(broken)
        )


def masking_pipeline(cfg: Config, name: str, mask_ratio: float | None) -> TestPipeline:
    """Return the training pipeline of a config without augmentation, but with the masks.

    Raises:
        UserError: the config is no masked pre-training, or its patches do not fit its images.
    """
    algorithm = find_type(cfg.model.type, cfg.get('default_scope'))
    steps = unaugmented_pipeline(cfg)
    masking = [step for step in steps if kind(step) == 'MaskPatches']
    if not (isinstance(algorithm, type) and issubclass(algorithm, MaskedAutoencoder) and masking):
        raise UserError(
            f'{name} is no masked pre-training: its model is {cfg.model.type}, and its training pipeline has '
            f'{"a" if masking else "no"} MaskPatches; choose the config of the checkpoint, such as one in '
            'configs/fcmae'
        )
    if mask_ratio is not None:
        masking[0]['mask_ratio'] = mask_ratio
    cfg.test_dataloader = dict(dataset=dict(pipeline=steps))
    pipeline = TestPipeline(cfg)
    side = 8 * masking[0].get('patch_size', 32)  # of a trial image, which the pipeline may not resize
    with draws_put_back():  # images that all have the same mistake are not to blame for it
        pipeline(pipeline.read(np.zeros((side, side, pipeline.channels or 3), np.uint8)))
    return pipeline


def evenly_spaced(images: list[Given]) -> list[Given]:
    """Return as many images as fit into a picture."""
    if len(images) <= MAX_IMAGES:
        return images
    warnings.warn(f'{MAX_IMAGES} of {len(images):,} images are drawn, evenly spaced', stacklevel=3)
    return [images[place] for place in np.linspace(0, len(images) - 1, MAX_IMAGES).round().astype(int)]
