"""Metadata of exported files, so that they can be used without this package."""

from pathlib import Path
from urllib.parse import urlsplit

from mmengine.config import Config
from torch import nn

from ..config.description import Inexpressible, resizing_of
from ..config.inner_datasets import pipeline_of
from ..config.pipeline_steps import kind
from ..version import __version__
from ..zoo.names import find
from .graph import Graph

# The key in the metadata of a file; its value is JSON.
KEY = 'mmconvnext'
PACKING = ('LoadImageFromFile', 'LoadAnnotations', 'PackInputs')


def metadata_of(name: str, model: nn.Module, graph: Graph) -> dict:
    """Return all information that is needed to use an exported file.

    Args:
        name: name of the weights, as given by the user.
        model: model of ``get_model``.
        graph: exported graph of the model.

    Returns:
        ``name`` (in the zoo, or the file's without its folder), ``license`` of the weights if the zoo
        states one, ``mmconvnext`` (version), ``classes`` (their names or None), ``input`` and ``output``
        in words, ``preprocessed`` (whether the file normalizes), ``channels`` (in words, as RGB or BGR),
        ``full_scale`` (pixel value of white, 255 for ordinary images), ``mean`` and ``std`` of these
        channels in units of it, ``min_size`` in pixels, and what ``resizing`` returns.
    """
    entry = find(name).entry
    file = Path(urlsplit(name).path if '://' in name else name)
    mean, std = (
        [value / graph.unit for value in numbers.flatten().tolist()] for numbers in (graph.mean, graph.std)
    )
    count = graph.channels
    if count not in (3, 4):
        channels = 'gray' if count == 1 else f'{count} channels'
    else:
        channels = 'RGB' if graph.preprocess or not graph.swaps else 'BGR'
        channels += ' and 1 more' if count == 4 else ''
    if graph.preprocess and graph.swaps:
        mean, std = (values[2::-1] + values[3:] for values in (mean, std))
    value = 'value' if graph.unit == 1 else f'value / {graph.unit:g}'
    shape = (
        f'{str(graph.pixel_type).removeprefix("torch.")} (N, H, W, {count})'
        if graph.preprocess
        else f'float32 (N, {count}, H, W), ({value} - mean) / std'
    )
    classes = model._dataset_meta.get('classes')
    return dict(
        name=entry.name if entry else file.name,  # folders are private
        license=entry and entry.license,
        mmconvnext=__version__,
        classes=classes and list(classes),
        input=f'{shape}, {channels}',
        output=graph.output,
        preprocessed=graph.preprocess,
        channels=channels,
        mean=mean,
        std=std,
        full_scale=graph.unit,
        min_size=graph.min_size,
        **resizing(model._config),
    )


def resizing(cfg: Config) -> dict:
    """Return ``size``, ``resize``, ``interpolation``, ``by`` (backend) and ``crop`` of the test pipeline.

    The values are those of ``Preprocessing``. For other pipelines, return ``steps`` as in the config.
    """
    pipeline = pipeline_of(cfg.test_dataloader.dataset)
    try:
        how = resizing_of(pipeline)
    except Inexpressible:
        steps = [step for step in pipeline if kind(step) not in PACKING]
        return dict(steps=Config(dict(steps=steps)).to_dict()['steps'])
    return dict(crop=None, by=how.pop('backend')) | how
