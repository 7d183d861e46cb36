"""Which weights are in there? Any format, under our names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..datasets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from ..errors import UserError
from ..models.archs import resolve_arch
from ..models.network import Network
from .downloading import MissingFileError, fetch
from .formats import DIRECTORIES, FORMATS, find_format
from .inspecting import network_of
from .loading import load_checkpoint
from .matching import check_fit, listed, weights_of
from .transformers_directory import (
    WEIGHT_FILES,
    class_names,
    network_of_config,
    preprocessing_of_config,
    read_json,
)

if TYPE_CHECKING:
    from ..zoo.entries import Entry

# Arguments of the backbone that weights do not show.
UNSEEN = ('act_cfg', 'norm_cfg', 'out_norm_cfg', 'gap_before_final_norm')
# Of images, where no preprocessor_config.json says so.
STATISTICS = dict(image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)


@dataclass(frozen=True)
class Weights:
    """Weights under our names, and what their source tells about them.

    Attributes:
        tensors: name to tensor.
        source: where they come from, for messages.
        format: the name of their source's format.
        unknown: names in the source that its format does not have; in ``tensors`` as they are.
        left_out: names in the source that have no place in our network.
        network: if the source describes it; else shapes have to do, see ``network_of``.
        preprocessing: if the source describes it.
        classes: names of the outputs, if the source has them.
    """

    tensors: dict[str, Tensor]
    source: str
    format: str
    unknown: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    network: Network | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None


def load_weights(
    source: str | Path,
    source_format: str = 'auto',
    *,
    weights: str | None = None,
    trust: bool = False,
    mmap: bool = False,
) -> Weights:
    """Weights of any supported format.

    Args:
        source: a file, a URL, a directory that transformers saved, or a checkpoint of the zoo as
            ``NAME`` or ``mmconvnext://NAME``.
        source_format: one of ``FORMATS``, or ``auto``.
        weights: ``ema`` or ``raw`` of a checkpoint that has both, see ``weights_of``.
        trust: see ``load_checkpoint``.
        mmap: see ``load_checkpoint``.

    Raises:
        UserError: the source cannot be read, is of no supported format or has no such weights.
    """
    from ..zoo.entries import get_entry, source_of  # the zoo is built on this module

    source = source_of(source)
    if source.startswith('mmconvnext://'):
        entry = get_entry(source.removeprefix('mmconvnext://'))
        return load_entry(entry, weights=weights, trust=trust, mmap=mmap)
    if Path(source).expanduser().is_dir():
        source = weight_file(Path(source).expanduser())
    checkpoint = load_checkpoint(source, trust=trust, mmap=mmap)
    loaded = recognise(weights_of(checkpoint, weights), str(source), source_format)
    if loaded.format in DIRECTORIES:
        return described_by_config(loaded, source)
    return replace(loaded, classes=classes_of(checkpoint), **told_by(checkpoint, loaded))


def classes_of(checkpoint: dict) -> tuple[str, ...] | None:
    """The names that mmengine keeps, if they are there."""
    found = checkpoint
    for key in ('meta', 'dataset_meta', 'classes'):
        found = found.get(key) if isinstance(found, dict) else None
    return tuple(map(str, found)) if isinstance(found, (list, tuple)) and found else None


def told_by(checkpoint: dict, loaded: Weights) -> dict:
    """What shapes do not show: from the format's name, or from what ``save_weights`` wrote beside them."""
    if loaded.format == 'timm-norm-first':
        return dict(network=with_backbone(loaded.tensors, dict(gap_before_final_norm=False)))
    meta = checkpoint.get('meta')
    told = meta.get('mmconvnext') if isinstance(meta, dict) else None
    if not isinstance(told, dict):
        return {}
    try:
        # Only these, since a config can ask for more than a file may: to load other files, for one.
        backbone = {key: told['backbone'][key] for key in UNSEEN if key in told['backbone']}
        if not isinstance(backbone.get('act_cfg', ''), str):
            raise TypeError('act_cfg')
        preprocessing = Preprocessing(**told['preprocessing']) if told.get('preprocessing') else None
        return dict(network=with_backbone(loaded.tensors, backbone), preprocessing=preprocessing)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{loaded.source}: what it says of its network cannot be read: {error}') from error


def with_backbone(tensors: dict[str, Tensor], told: dict) -> Network:
    found = network_of(tensors)
    return Network({**found.backbone, **told}, found.head)


def load_entry(
    entry: 'Entry', *, weights: str | None = None, trust: bool = False, mmap: bool = False
) -> Weights:
    """Weights of a checkpoint of the zoo, with what the zoo knows of them; see ``load_weights``."""
    loaded = load_weights(entry.weights, entry.format, weights=weights, trust=trust, mmap=mmap)
    return replace(
        loaded,
        source=entry.name,
        network=loaded.network or entry.network,
        preprocessing=loaded.preprocessing or entry.preprocessing,
        classes=loaded.classes or entry.class_names,
    )


def weight_file(directory: Path) -> Path:
    """Of a directory that transformers saved."""
    for name in WEIGHT_FILES:
        if (directory / name).is_file():
            return directory / name
    if any(directory.glob('*.index.json')):
        raise UserError(
            f'{directory} holds its weights in several files; save it in one: '
            "save_pretrained(..., max_shard_size='99GB')"
        )
    raise UserError(
        f'{directory} is a folder without weights; expected one of {", ".join(WEIGHT_FILES)} in it'
    )


def recognise(tensors: dict[str, Tensor], source: str, source_format: str = 'auto') -> Weights:
    """The tensors under our names, by the format that knows most of theirs.

    Raises:
        UserError: no format knows half of the names, or there is no format of that name.
    """
    candidates = FORMATS if source_format == 'auto' else {source_format: find_format(source_format)}
    read = {name: entry.read(tensors) for name, entry in candidates.items()}
    name, renamed = min(read.items(), key=lambda item: len(item[1].unknown))
    if 2 * len(renamed.unknown) > len(tensors):
        expected = 'in any known format' if source_format == 'auto' else f'in the format {source_format}'
        raise UserError(
            f'{source} holds no ConvNeXt {expected}: {len(renamed.unknown)} of its {len(tensors)} names are '
            f'unknown ({listed(renamed.unknown)})'
        )
    kept = renamed.weights | {unknown: tensors[unknown] for unknown in renamed.unknown}
    return Weights(kept, source, name, tuple(renamed.unknown), tuple(renamed.left_out))


def described_by_config(loaded: Weights, source: str | Path) -> Weights:
    """With what config.json and preprocessor_config.json beside the weights say."""
    config, preprocessor = (beside(source, name) for name in ('config.json', 'preprocessor_config.json'))
    if config is None:
        return loaded
    fields = read_json(config)
    with naming(config):
        network, classes = network_of_config(fields), class_names(fields)
    found = network_of(loaded.tensors)
    sizes, described = resolve_arch(found.backbone['arch']), resolve_arch(network.backbone['arch'])
    if any(sizes[key] != described[key] for key in ('depths', 'channels')):
        raise UserError(
            f'{config} says depths {described["depths"]} and hidden_sizes {described["channels"]}, but the '
            f'weights beside it have {sizes["depths"]} and {sizes["channels"]}'
        )
    if classes and found.head and len(classes) != found.head['num_classes']:
        raise UserError(f'{config} names {len(classes)} classes for {found.head["num_classes"]} outputs')
    with naming(preprocessor or config):
        preprocessing = preprocessing_of_config(
            read_json(preprocessor)
            if preprocessor
            else dict(size=fields.get('image_size', 224), **STATISTICS)
        )
    network = Network(network.backbone, found.head)
    return replace(loaded, network=network, preprocessing=preprocessing, classes=classes)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Turn what odd fields raise into a message with the file's name."""
    try:
        yield
    except UserError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f'{file} has a field that cannot be read ({type(error).__name__}: {error}); correct it'
        ) from error


def beside(source: str | Path, name: str) -> Path | None:
    """The file of this name in the folder or hub repository of the source, if there is one."""
    if str(source).startswith(('http://', 'https://')):
        try:
            return fetch(f'{str(source).rpartition("/")[0]}/{name}')
        except MissingFileError:
            return None
    file = Path(source).with_name(name)
    return file if file.is_file() else None


def check_whole(loaded: Weights) -> None:
    """Raise unless the weights are all that a network has, and nothing else."""
    if loaded.unknown:
        raise UserError(
            f'{loaded.source} looks like {loaded.format}, but {len(loaded.unknown)} names are unknown there: '
            f'{listed(loaded.unknown)}'
        )
    network = loaded.network or network_of(loaded.tensors)
    # Detectors bring heads of their own; pre-trained encoders have none, and no last norm.
    check_fit(loaded.tensors, network.build_on_meta(), loaded.source, new_head=network.head is None)
