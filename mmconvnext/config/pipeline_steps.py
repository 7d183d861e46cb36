"""Names and settings of the steps of a pipeline."""

from collections.abc import Mapping

LOADERS = 'LoadImageFromFile', 'LoadImage', 'LoadImageForCrop'


def kind(step: Mapping) -> str:
    """Return the class name of a step or model."""
    name = step['type'] if isinstance(step['type'], str) else step['type'].__name__
    return name.rpartition('.')[2]


def loader_of(pipeline: list[Mapping]) -> Mapping:
    """Return the step that reads files."""
    return next((step for step in pipeline if kind(step) in LOADERS), {})


def reading_of(pipeline: list[Mapping]) -> dict:
    """Return ``full_scale`` and ``to_float32`` of ``Preprocessing``."""
    loader = loader_of(pipeline)
    as_stored = loader.get('color_type') == 'unchanged'
    scale = loader.get('full_scale')
    scale = (None if as_stored else 255.0) if scale is None else float(scale)
    return dict(full_scale=scale, to_float32=bool(loader.get('to_float32')))
