"""The published checkpoints, as the metafiles list them."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import yaml
from mmengine.config import Config

from ..checkpoints.formats import FORMATS
from ..datasets.preprocessing import Preprocessing
from ..errors import UserError, did_you_mean
from ..models.network import Network
from ..paths import MIM
from .architectures import ARCHITECTURES, HIDDEN_CHANNELS

MODEL_INDEX = MIM / 'model-index.yml'

# Fields of an entry -> whether it needs them. mim reads some, we the others.
FIELDS = {
    **dict.fromkeys(('Name', 'In Collection', 'Weights', 'Format', 'Metadata'), True),
    **dict.fromkeys(('Config', 'Source', 'License', 'Preprocessing', 'Results', 'Other Results'), False),
    **dict.fromkeys(('Published', 'Converted From', 'Also At', 'Recipe', 'Notes', 'Facts From'), False),
}
METADATA = {
    **dict.fromkeys(('Task', 'Classes', 'Resolution', 'Parameters', 'FLOPs'), True),
    **dict.fromkeys(('Architecture', 'Method', 'Training Data', 'Pre-training'), False),
}
# Of MMDetection's and MMSegmentation's configs, whose images have many sizes.
DENSE_TASKS = ('Object Detection', 'Semantic Segmentation')
DENSE_METADATA = {key: needed for key, needed in METADATA.items() if key not in ('Resolution', 'FLOPs')}


@dataclass(frozen=True)
class Entry:
    """One published checkpoint.

    Attributes:
        name: in the zoo.
        weights: URL of the file.
        format: a key of ``FORMATS``.
        collection: ConvNeXt or ConvNeXt V2.
        source: official, openmmlab, timm, torchvision or huggingface.
        license: of the weights; None: not stated.
        architecture: a key of ``ARCHITECTURES``; None: that of the config.
        task: Image Classification, Image Embedding (CLIP), Feature Extraction, Object Detection (with
            masks) or Semantic Segmentation.
        num_classes: outputs of the head; None: no head.
        method: of a self-supervised training, or the detector or segmenter around the backbone.
        training_data: what it was trained on last.
        pretraining: what came before, in order.
        resolution: side of the images in pixels; None: many sizes.
        parameters: number of them.
        macs: multiply-accumulates of one image at this resolution, if it has one.
        preprocessing: of the evaluation; None: that of the config.
        top1, top5: accuracies on ImageNet-1k as published, percent.
        metrics: all published ones, by name.
        config: path of the recipe, relative to the folder of model-index.yml.
        details: the remaining fields as the metafile has them.
        root: folder that ``config`` starts from.
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
        """The network these weights belong to; of a detector or segmenter, its backbone."""
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
        """Of the outputs, where they are ImageNet's."""
        if self.task != 'Image Classification' or not str(self.training_data).startswith('ImageNet-'):
            return None
        return imagenet_names(self.training_data)


@cache
def imagenet_names(dataset: str) -> tuple[str, ...]:
    """WordNet's words for the classes of ImageNet-1k, -12k (timm's selection) or -22k, in their order."""
    from timm.data import ImageNetInfo  # takes a second

    info = ImageNetInfo(dataset.lower())
    return tuple(info.index_to_description(i) for i in range(info.num_classes()))


def read_model_index(path: str | Path) -> dict[str, Entry]:
    """Name to entry, from a model-index.yml and the metafiles it imports.

    Raises:
        UserError: a file is missing or an entry is not as it should be.
    """
    path = Path(path)
    entries = {}
    for metafile in read_yaml(path).get('Import', []):
        for fields in read_yaml(path.parent / metafile).get('Models', []):
            entry = read_entry(fields, path.parent)
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
        raise UserError(f'{path} holds a {type(content).__name__}; expected fields such as Import or Models')
    return content


def read_entry(fields: dict, root: Path) -> Entry:
    """A validated entry.

    Raises:
        UserError: naming the entry and the field.
    """
    name = fields.get('Name')
    metadata = fields.get('Metadata') or {}
    check_fields(fields, FIELDS, f'entry {name}')
    known = DENSE_METADATA if metadata.get('Task') in DENSE_TASKS else METADATA
    check_fields(metadata, known, f'entry {name}, Metadata')
    architecture = metadata.get('Architecture')
    if fields['Format'] not in FORMATS:
        raise UserError(
            f'entry {name}: format {fields["Format"]!r} is unknown; choose from {", ".join(FORMATS)}'
        )
    if architecture is None and 'Config' not in fields:
        raise UserError(
            f'entry {name} has neither Architecture nor Config; one of them has to tell its network'
        )
    if architecture is not None and architecture not in ARCHITECTURES:
        raise UserError(
            f'entry {name}: architecture {architecture!r} is not in mmconvnext/zoo/architectures.py'
        )
    preprocessing = {key.lower(): value for key, value in (fields.get('Preprocessing') or {}).items()}
    for key in ('mean', 'std'):
        if key in preprocessing:
            preprocessing[key] = tuple(preprocessing[key])
    metrics = {
        key: value for result in fields.get('Results') or [] for key, value in result['Metrics'].items()
    }
    used = ('Name', 'Weights', 'Format', 'In Collection', 'Source', 'License', 'Metadata', 'Preprocessing')
    return Entry(
        name=name,
        weights=fields['Weights'],
        format=fields['Format'],
        collection=fields['In Collection'],
        source=fields.get('Source'),
        license=fields.get('License'),
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
        config=fields.get('Config'),
        details={key: value for key, value in fields.items() if key not in (*used, 'Config', 'Results')},
        root=root,
    )


def check_fields(found: dict, known: dict[str, bool], place: str) -> None:
    missing = [key for key, needed in known.items() if needed and key not in found]
    unknown = [key for key in found if key not in known]
    if missing or unknown:
        raise UserError(f'{place}: missing fields {missing}, unknown fields {unknown}')


@cache
def zoo() -> dict[str, Entry]:
    """All published checkpoints, by name."""
    return read_model_index(MODEL_INDEX)


def get_entry(name: str) -> Entry:
    """What is known of a published checkpoint.

    Raises:
        UserError: there is none of this name.
    """
    if name not in zoo():
        raise UserError(
            f'the zoo has no {name!r}{did_you_mean(name, zoo())}; see model_zoo.md or list_models()'
        )
    return zoo()[name]


def source_of(weights: str | Path) -> str:
    """What ``load_weights`` takes for a path, a URL or the bare name of a published checkpoint."""
    published = str(weights) in zoo() and not Path(weights).exists()
    return f'mmconvnext://{weights}' if published else str(weights)


def list_models(pattern: str = '*', *, source: str | None = None, task: str | None = None) -> list[str]:
    """Names of published checkpoints, sorted.

    Args:
        pattern: as of files, ``*v2-tiny*``; a bare word matches anywhere.
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
