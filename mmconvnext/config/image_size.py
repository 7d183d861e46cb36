"""Read and change the image size in the pipelines of a config."""

import re
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from ..errors import UserError
from .loading import known_keys
from .pipeline_steps import kind

# Transform -> its argument that is a size in pixels.
SIZES = {
    'RandomResizedCrop': 'scale',
    'EfficientNetRandomCrop': 'scale',
    'LoadImageForCrop': 'scale',
    'Resize': 'scale',
    'ResizeEdge': 'scale',
    'RandomCrop': 'crop_size',
    'CenterCrop': 'crop_size',
    'FloorCenterCrop': 'crop_size',
    'EfficientNetCenterCrop': 'crop_size',
}
# Their sizes are (height, width), as in mmpretrain; those of the others are (width, height), as in mmcv.
HEIGHT_FIRST = ('RandomCrop', 'RandomResizedCrop')
# Their transforms have names like ours, with arguments of another meaning.
WRAPPERS = ('Albu', 'Albumentations')
RESIZING = re.compile('Crop|[Ss]iz|RandomScale|Pad')
# Transforms whose sizes are those of erased regions, patches or kernels, or factors.
UNRELATED = ('RandomErasing', 'MaskPatches', 'GaussianBlur', 'ColorJitter', 'RandAugment', 'AutoAugment')


def set_image_size(cfg: Config, size: int) -> None:
    """Set the size of the square images at the end of every pipeline.

    Resizing before a crop is scaled with it: 256 before 224 becomes 438 before 384. ``img_size`` of a
    backbone is set, too.

    Args:
        cfg: config of a classifier.
        size: height and width of the network's input in pixels.

    Raises:
        UserError: a pipeline has no step with a size, a step with an unknown size, or images that are not
            square.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 8192:
        raise UserError(f'--image-size {size}: expected a whole number of pixels from 1 to 8,192')
    pipelines = dict(pipelines_of(cfg))
    for place, pipeline in pipelines.items():
        resize_pipeline(pipeline, size, place)
    if not pipelines:
        raise UserError('--image-size: the config has no pipeline; leave it out')
    backbone = cfg.model.get('backbone')
    if backbone is not None and 'img_size' in known_keys(backbone, ['model', 'backbone'], cfg)[0]:
        backbone.img_size = size


def pipelines_of(cfg: Config) -> Iterator[tuple[str, list]]:
    """Yield all pipelines of dataloaders and test-time augmentation with their paths."""
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(field):
            yield from pipelines_of_dataset(cfg[field].dataset, f'{field}.dataset')
    if cfg.get('tta_pipeline'):
        yield 'tta_pipeline', cfg.tta_pipeline


def pipelines_of_dataset(settings: dict, place: str) -> Iterator[tuple[str, list]]:
    """Yield the pipelines of a dataset, including datasets in wrappers."""
    if settings.get('pipeline'):
        yield f'{place}.pipeline', settings['pipeline']
    if isinstance(settings.get('dataset'), dict):
        yield from pipelines_of_dataset(settings['dataset'], f'{place}.dataset')
    for index, each in enumerate(settings.get('datasets') or []):
        yield from pipelines_of_dataset(each, f'{place}.datasets.{index}')


def sizes_of(settings: dict) -> list[str]:
    """Return the image sizes of a dataset, such as ``224 x 192 pixels``; empty if unknown.

    Args:
        settings: settings of a dataset or wrapper.
    """
    found = [final_size(pipeline) for _, pipeline in pipelines_of_dataset(settings, '')]
    return list(dict.fromkeys(found)) if all(found) else []


def final_size(pipeline: list) -> str | None:
    """Return the size after the last step that sets one, or None if unknown."""
    for step in reversed(list(steps_of(pipeline))):
        name = kind(step)
        size = step.get(SIZES.get(name, ''))
        if size is not None:
            sides = size if isinstance(size, (list, tuple)) else (size, size)
            # MMDetection's crop_type: a size that is drawn, or a part of the image.
            if not all(isinstance(side, int) for side in sides) or len(sides) != 2 or 'crop_type' in step:
                return None
            width, height = reversed(sides) if name in HEIGHT_FIRST else sides
            if name == 'ResizeEdge':
                return f'{width} pixels along the {step.get("edge", "short")} edge'
            return f'{"at most " if step.get("keep_ratio") else ""}{width} x {height} pixels'
        if unknown_sizes(step, ('scale', 'scales', 'size', 'divisor')):
            return None
    return None


def resize_pipeline(pipeline: list, size: int, place: str) -> None:
    steps = []
    for step in steps_of(pipeline):
        name = kind(step)
        unknown = [] if name in SIZES else unknown_sizes(step, ('scale', 'size'))
        if unknown:
            raise UserError(
                f'--image-size: {place} has the step {name}, and what its {unknown[0]} means is unknown; set '
                f'sizes with --cfg-options'
            )
        if name in SIZES and SIZES[name] in step:
            steps.append(step)
    if not steps:
        known = ', '.join(SIZES)
        raise UserError(f'--image-size: {place} has no step that sets a size; expected one of {known}')
    former = square(steps[-1], place)
    for step in steps:
        old = square(step, place)
        # Rounded down as in the official code: int(256 / 224 * 384) == 438.
        new = old * size // former
        key = SIZES[kind(step)]
        step[key] = (new, new) if isinstance(step[key], (list, tuple)) else new


def unknown_sizes(step: dict, endings: tuple[str, ...]) -> list[str]:
    """Return the arguments with these endings that may set a size, or the transforms in Albumentations."""
    if kind(step) in WRAPPERS:
        return [name for name in map(kind, steps_of(step.get('transforms') or [])) if RESIZING.search(name)]
    return [key for key in step if key.endswith(endings) and kind(step) not in UNRELATED]


def steps_of(pipeline: Any) -> Iterator[dict]:
    """Yield the steps of a pipeline, including nested ones, but not those of other libraries."""
    for step in pipeline:
        if isinstance(step, dict):
            yield step
            if kind(step) not in WRAPPERS:
                yield from steps_of(step.get('transforms') or [])
        elif isinstance(step, (list, tuple)):
            yield from steps_of(step)


def square(step: dict, place: str) -> int:
    name = kind(step)
    value = step[SIZES[name]]
    sides = {*value} if isinstance(value, (list, tuple)) else {value}
    if len(sides) > 1 or not isinstance(side := next(iter(sides)), int):
        raise UserError(
            f'--image-size: {SIZES[name]} of {name} in {place} is {value!r}; expected one side in pixels. '
            'Set it with --cfg-options'
        )
    return side
