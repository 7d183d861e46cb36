"""Take the augmentation out of a training pipeline, for data that has no other."""

from collections.abc import Mapping
from dataclasses import replace

from mmengine.config import Config

from ..errors import UserError
from ..images.preprocessing import Preprocessing
from .image_size import HEIGHT_FIRST, SIZES
from .inner_datasets import pipeline_of
from .loading import find_type
from .pipeline_steps import LOADERS, kind, reading_of

RANDOM_CROPS = ('RandomResizedCrop', 'EfficientNetRandomCrop')
KEPT = (
    *(*LOADERS, 'Resize', 'ResizeEdge', 'CenterCrop', 'FloorCenterCrop', 'Pad', 'Normalize'),
    *('MaskPatches', 'PackInputs'),
)
LIBRARIES = ('mmconvnext', 'mmcv', 'mmpretrain')


def unaugmented_pipeline(cfg: Config) -> list[dict]:
    """Return the training pipeline of a config without augmentation.

    Images are resized and cropped at their center to the size of the random crop, with the margins of the
    usual test pipeline. Other steps are kept if they are the user's own, since only the user knows what they
    are for.

    Raises:
        UserError: the config has no training pipeline.
    """
    try:
        pipeline = pipeline_of(cfg.train_dataloader.dataset)
    except AttributeError as error:
        raise UserError(
            'the config has no train_dataloader.dataset.pipeline, which defines the size of its images'
        ) from error
    channels = cfg.model.backbone.get('in_channels', 3)
    steps = []
    for step in pipeline:
        name = kind(step)
        if name == 'LoadImageForCrop':  # decodes at a resolution that suits a random crop
            crop = SIZES[name], 'crop_ratio_range'
            steps.append({**{k: v for k, v in step.items() if k not in crop}, 'type': 'LoadImageFromFile'})
        elif name in RANDOM_CROPS:
            steps += resizing(step, Preprocessing(**reading_of(steps)).for_channels(channels))
        elif name == 'RandomCrop':
            if resized_to(width_first(step), steps):  # nothing is left to crop
                continue
            pads = dict(auto_pad=True) if step.get('pad_if_needed') or step.get('padding') else {}
            steps.append(dict(type='CenterCrop', crop_size=width_first(step), **pads))
        elif name in KEPT or not is_of_library(step, cfg):
            steps.append(dict(step))
    return steps


def resizing(step: Mapping, preprocessing: Preprocessing) -> list[dict]:
    """Return the steps that resize and crop an image to the size of a random crop."""
    width, height = width_first(step)
    resize = width * 256 // 224 if width == height else None
    return replace(preprocessing, size=(height, width), resize=resize).pipeline()


def resized_to(size: tuple[int, int], steps: list[Mapping]) -> bool:
    """Return whether steps end in a resize to this width and height."""
    last = steps[-1] if steps else {'type': ''}
    return kind(last) == 'Resize' and not last.get('keep_ratio') and width_first(last) == size


def width_first(step: Mapping) -> tuple[int, int]:
    size = step[SIZES[kind(step)]]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return sides[::-1] if kind(step) in HEIGHT_FIRST else sides


def is_of_library(step: Mapping, cfg: Config) -> bool:
    found = find_type(step['type'], cfg.get('default_scope'))
    return getattr(found, '__module__', '').partition('.')[0] in LIBRARIES
