"""Published checkpoints, read from the metafiles."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import yaml
from mmengine.config import Config

from ..checkpoints.descriptions import (
    MAX_CLASSES,
    MAX_INPUT_SIDE,
    Check,
    fields,
    integer,
    mapping,
    numbers,
    one_of,
    optional,
    read_fields,
    several,
    shown,
    text,
)
from ..checkpoints.formats import FORMATS
from ..checkpoints.training_description import PREPROCESSING
from ..errors import UserError, did_you_mean
from ..images.preprocessing import Preprocessing
from ..models.network import Network
from ..paths import MIM
from .architectures import ARCHITECTURES, HIDDEN_CHANNELS

MODEL_INDEX = MIM / 'model-index.yml'

TEXT = text(2000)
MAX_ENTRIES = 10_000  # entries of a metafile
MAX_COUNT = 10**15  # parameters or multiply-accumulates
# Field of an entry -> check of its value. Some fields are for OpenMMLab's mim, the others for this package.
NEEDED = {
    **dict.fromkeys(('Name', 'In Collection', 'Weights'), TEXT),
    'Format': one_of(FORMATS),
    'Metadata': mapping,
}
MORE = {
    **dict.fromkeys(('Config', 'Source', 'Recipe', 'Notes', 'Facts From'), TEXT),
    **dict.fromkeys(('License', 'Also At'), optional(TEXT)),
    **dict.fromkeys(('Preprocessing', 'Published', 'Converted From'), mapping),
    'Results': optional(several(fields(dict(Metrics=numbers)), 100)),
    'Other Results': optional(several(mapping, 100)),
}
TASKS = (
    *('Image Classification', 'Image Embedding', 'Feature Extraction'),
    *('Object Detection', 'Semantic Segmentation'),
)
METADATA_NEEDED = {
    'Task': one_of(TASKS),
    'Classes': optional(integer(1, MAX_CLASSES)),
    'Parameters': integer(1, MAX_COUNT),
}
OF_ONE_SIZE = {'Resolution': integer(1, MAX_INPUT_SIDE), 'FLOPs': integer(1, MAX_COUNT)}
METADATA_MORE = {
    'Architecture': TEXT,
    **dict.fromkeys(('Method', 'Training Data', 'Pre-training'), optional(TEXT)),
}
# Tasks with configs of MMDetection and MMSegmentation, whose images have various sizes.
DENSE_TASKS = ('Object Detection', 'Semantic Segmentation')
PREPROCESSING_FIELDS = {key.capitalize(): check for key, check in PREPROCESSING.items()}


@dataclass(frozen=True)
class Entry:
    """Description of a published checkpoint.

    Attributes:
        name: name in the zoo.
        weights: URL of the file.
        format: format of the weights, a key of ``FORMATS``.
        collection: ConvNeXt or ConvNeXt V2.
        source: official, openmmlab, timm, torchvision or huggingface.
        license: license of the weights; None if the source does not state one.
        architecture: a key of ``ARCHITECTURES``; None: see ``config``.
        task: Image Classification, Image Embedding (CLIP), Feature Extraction, Object Detection (with
            masks) or Semantic Segmentation.
        num_classes: number of outputs of the head; None without a head.
        method: method of a self-supervised training, or the detector or segmenter with the backbone.
        training_data: dataset of the last training.
        pretraining: datasets and methods of earlier trainings, in order.
        resolution: height and width of the images in pixels; None for various sizes.
        parameters: number of parameters.
        macs: multiply-accumulates for one image at this resolution, if any.
        preprocessing: preprocessing in the evaluation; None: see ``config``.
        top1, top5: published accuracies on ImageNet-1k in percent.
        metrics: all published metrics by name.
        config: path of the recipe, relative to the folder of model-index.yml.
        details: the remaining fields of the metafile.
        root: folder to which ``config`` is relative.
    """

    name: str
    weights: str
    format: str
    collection: str
    source: str | None
    license: str | None
    architecture: str | None
    task: str
    num_classes: int | None
    method: str | None
    training_data: str | None
    pretraining: str | None
    resolution: int | None
    parameters: int
    macs: int | None
    preprocessing: Preprocessing | None
    top1: float | None
    top5: float | None
    metrics: dict[str, float]
    config: str | None
    details: dict
    root: Path

    @property
    def network(self) -> Network:
        """Network of the weights; for a detector or segmenter, its backbone."""
        if self.task in DENSE_TASKS:
            settings = dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)
            return Network({**ARCHITECTURES[self.architecture], **settings}, None)
        if self.architecture is None:
            model = Config.fromfile(self.root / self.config).model
            backbone = {key: value for key, value in model.backbone.to_dict().items() if key != 'type'}
            return Network(backbone, dict(num_classes=model.head.num_classes))
        head = None if self.num_classes is None else dict(num_classes=self.num_classes)
        if head and self.architecture in HIDDEN_CHANNELS:
            head['hidden_channels'] = HIDDEN_CHANNELS[self.architecture]
        return Network(ARCHITECTURES[self.architecture], head)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the outputs if they are ImageNet classes, else None."""
        if self.task != 'Image Classification' or not str(self.training_data).startswith('ImageNet-'):
            return None
        return imagenet_names(self.training_data)


@cache
def imagenet_names(dataset: str) -> tuple[str, ...]:
    """Return the class names of ImageNet-1k, -12k (timm's selection) or -22k from WordNet, in order."""
    from timm.data import ImageNetInfo  # takes a second

    info = ImageNetInfo(dataset.lower())
    return tuple(info.index_to_description(i) for i in range(info.num_classes()))


def read_model_index(path: str | Path) -> dict[str, Entry]:
    """Return name -> entry from a model-index.yml and the metafiles that it imports.

    Raises:
        UserError: a file is missing or an entry is invalid.
    """
    path = Path(path)
    entries = {}
    index = read_fields(read_yaml(path), dict(Import=several(TEXT, 100)), str(path))
    for metafile in index.get('Import', ()):
        models = dict(Models=several(mapping, MAX_ENTRIES, 0))
        for found in read_fields(read_yaml(path.parent / metafile), models, metafile).get('Models', ()):
            entry = read_entry(found, path.parent)
            if entry.name in entries:
                raise UserError(f'{path.parent / metafile}: there are two entries named {entry.name}')
            entries[entry.name] = entry
    return entries


def read_yaml(path: Path) -> dict:
    try:
        content = yaml.load(
            path.read_text(encoding='utf-8'), Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
        )
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f'{path} cannot be read as YAML: {error}') from error
    if not isinstance(content, dict):
        raise UserError(
            f'{path} contains a {type(content).__name__}; expected fields such as Import or Models'
        )
    return content


def read_entry(found: dict, root: Path) -> Entry:
    """Validate and return an entry.

    Raises:
        UserError: a field is invalid; the message names entry and field.
    """
    name = found.get('Name') if isinstance(found.get('Name'), str) else shown(found.get('Name'))
    found = read_complete(found, NEEDED, MORE, f'entry {name}')
    name, place = found['Name'], f'entry {found["Name"]}'
    dense = found['Metadata'].get('Task') in DENSE_TASKS
    needed = METADATA_NEEDED if dense else METADATA_NEEDED | OF_ONE_SIZE
    metadata = read_complete(found['Metadata'], needed, METADATA_MORE, f'{place}, Metadata')
    architecture = metadata.get('Architecture')
    if architecture is None and 'Config' not in found:
        raise UserError(f'{place} has neither Architecture nor Config; one of them must define its network')
    if architecture is not None and architecture not in ARCHITECTURES:
        raise UserError(f'{place}: architecture {architecture!r} is not in mmconvnext/zoo/architectures.py')
    preprocessing = read_complete(
        found.get('Preprocessing', {}), {}, PREPROCESSING_FIELDS, f'{place}, Preprocessing'
    )
    preprocessing = {key.lower(): value for key, value in preprocessing.items()}
    metrics = {
        key: value
        for result in found.get('Results') or []
        for key, value in result.get('Metrics', {}).items()
    }
    used = ('Name', 'Weights', 'Format', 'In Collection', 'Source', 'License', 'Metadata', 'Preprocessing')
    return Entry(
        name=name,
        weights=found['Weights'],
        format=found['Format'],
        collection=found['In Collection'],
        source=found.get('Source'),
        license=found.get('License'),
        architecture=architecture,
        task=metadata['Task'],
        num_classes=metadata['Classes'],
        method=metadata.get('Method'),
        training_data=metadata.get('Training Data'),
        pretraining=metadata.get('Pre-training'),
        resolution=metadata.get('Resolution'),
        parameters=metadata['Parameters'],
        macs=metadata.get('FLOPs'),
        preprocessing=Preprocessing(**preprocessing) if preprocessing else None,
        top1=metrics.get('Top 1 Accuracy'),
        top5=metrics.get('Top 5 Accuracy'),
        metrics=metrics,
        config=found.get('Config'),
        details={key: value for key, value in found.items() if key not in (*used, 'Config', 'Results')},
        root=root,
    )


def read_complete(found: object, needed: Mapping[str, Check], more: Mapping[str, Check], place: str) -> dict:
    """Check fields; all required ones must be present, and none may be unknown."""
    read = read_fields(found, needed | more, place)
    missing = [key for key in needed if key not in read]
    unknown = [key for key in found if key not in read]
    if missing or unknown:
        raise UserError(f'{place}: missing fields {missing}, unknown fields {unknown}')
    return read


@cache
def zoo() -> dict[str, Entry]:
    """Return all published checkpoints by name."""
    return read_model_index(MODEL_INDEX)


def imagenet_classifiers(entries: Iterable[Entry]) -> list[Entry]:
    """Return the classifiers with the 1000 classes of ImageNet-1k."""
    return [entry for entry in entries if (entry.task, entry.num_classes) == ('Image Classification', 1000)]


def get_entry(name: str) -> Entry:
    """Return the facts about a published checkpoint.

    Raises:
        UserError: the name is unknown.
    """
    if name not in zoo():
        raise UserError(
            f'the zoo has no {name!r}{did_you_mean(name, zoo())}; see model_zoo.md or list_models()'
        )
    return zoo()[name]


def list_models(pattern: str = '*', *, source: str | None = None, task: str | None = None) -> list[str]:
    """Return the sorted names of published checkpoints.

    Args:
        pattern: pattern with wildcards, such as ``*v2-tiny*``; a plain word matches anywhere.
        source: official, openmmlab, timm, torchvision or huggingface.
        task: Image Classification, Image Embedding, Feature Extraction, Object Detection or Semantic
            Segmentation.

    Raises:
        UserError: no entry has this source or task.
    """
    entries = zoo().values()
    check_choice('source', source, {entry.source for entry in entries})
    check_choice('task', task, {entry.task for entry in entries})
    pattern = pattern if set('*?[') & set(pattern) else f'*{pattern}*'
    return sorted(
        entry.name
        for entry in entries
        if fnmatch(entry.name, pattern) and source in (None, entry.source) and task in (None, entry.task)
    )


def check_choice(field: str, value: str | None, choices: Iterable[str]) -> None:
    if value is not None and value not in choices:
        raise UserError(f'{field} is {value!r}; choose from {", ".join(sorted(choices))}')
