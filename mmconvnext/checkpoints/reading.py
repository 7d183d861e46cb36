"""Which weights are in there? Any format, under our names."""

from collections.abc import Container
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from ..images.preprocessing import Preprocessing
from ..models.archs import resolve_arch
from ..models.fitting import check_fit
from ..models.inspecting import check_stored, head_arguments, network_of, title
from ..models.network import Network
from ..text import counted, listed, shortened
from .descriptions import read_json
from .downloading import MissingFileError, fetch
from .formats import DIRECTORIES, FORMATS, find_format, stems
from .loading import load_checkpoint
from .training_description import read_classes, read_description
from .transformers_directory import (
    WEIGHT_FILES,
    class_names,
    network_of_config,
    preprocessing_of_config,
    preprocessing_of_size,
)
from .unwrapping import weights_of

# Detectors and text towers with their averages have a few thousand; every rule of every format meets each.
MAX_TENSORS = 10_000
MAX_PREFIXES = 16  # networks in one file


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
        names: name under ours to name in the source.
        needs_config: what its source cannot tell of the network, see ``Description``.
    """

    tensors: dict[str, Tensor]
    source: str
    format: str
    unknown: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    network: Network | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    names: dict[str, str] = field(default_factory=dict, repr=False)
    needs_config: str | None = None

    def rename(self, tensors: dict[str, Tensor]) -> dict[str, str]:
        """Our names of tensors to those of the source, also of tensors that it lacks."""
        known = {ours: theirs for theirs, ours in find_format(self.format).write(tensors).names.items()}
        return known | self.names


def read_weights(
    source: str | Path,
    source_format: str = 'auto',
    *,
    weights: str | None = None,
    trust: bool = False,
    mmap: bool = False,
) -> Weights:
    """Read weights in any supported format.

    Args:
        source: a file, a URL, or a directory that transformers saved.
        source_format: one of ``FORMATS``, or ``auto``.
        weights: ``ema`` or ``raw`` of a checkpoint that has both, see ``weights_of``.
        trust: see ``load_checkpoint``.
        mmap: see ``load_checkpoint``.

    Raises:
        UserError: the source cannot be read, is of no supported format or has no such weights.
    """
    if Path(source).expanduser().is_dir():
        source = weight_file(Path(source).expanduser())
    checkpoint = load_checkpoint(source, trust=trust, mmap=mmap)
    loaded = recognise(weights_of(checkpoint, weights), str(source), source_format)
    if loaded.format in DIRECTORIES:
        return described_by_config(loaded, source)
    if loaded.format == 'timm-norm-first':
        found = network_of(loaded.tensors)
        network = Network({**found.backbone, 'gap_before_final_norm': False}, found.head)
        return replace(loaded, network=network, classes=read_classes(checkpoint, loaded.source))
    return described_by_meta(loaded, checkpoint)


def described_by_meta(loaded: Weights, checkpoint: dict) -> Weights:
    """Add what our checkpoints say of their network and its images, see ``training_description``."""
    classes = read_classes(checkpoint, loaded.source)
    description = read_description(checkpoint, loaded.source)
    if description is None:
        return replace(loaded, classes=classes)
    found = network_of(loaded.tensors)
    head, preprocessing = found.head and {**found.head, **description.head}, description.preprocessing
    if head and head.get('kind') == 'regression' and head['num_classes'] != 1:
        raise UserError(
            f'{loaded.source}: a regression has one output, and its head has {head["num_classes"]}'
        )
    channels = found.backbone.get('in_channels', 3)
    if preprocessing and preprocessing.channels != channels:
        raise UserError(
            f'{loaded.source} prepares {preprocessing.channels} channels for a network that takes {channels}'
        )
    return replace(
        loaded,
        network=Network({**found.backbone, **description.backbone}, head),
        preprocessing=preprocessing,
        classes=classes,
        needs_config=description.needs_config,
    )


def weight_file(directory: Path) -> Path:
    """Return the file of weights in a directory that transformers saved."""
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

    Names may start with a prefix that a trainer puts in front of its network's, as Lightning does.

    Raises:
        UserError: no format knows half of the names, there is no format of that name, there are several
            networks inside, too many tensors, or tensors that show the same numbers many times.
    """
    if len(tensors) > MAX_TENSORS:
        raise UserError(
            f'{source} holds {len(tensors):,} tensors; expected at most {MAX_TENSORS:,}. Save the network '
            'that you mean in a file of its own'
        )
    check_stored(tensors, source)
    candidates = FORMATS if source_format == 'auto' else {source_format: find_format(source_format)}
    best = read_as(tensors, candidates, source)
    if best.unknown:
        prefixes = prefixes_of(tensors)
        if len(prefixes) > MAX_PREFIXES:
            raise several_networks(source, prefixes)
        inside = {prefix: read_as(tensors, candidates, source, prefix) for prefix in prefixes}
        whole = [p for p, read in inside.items() if not any(name.startswith(p) for name in read.unknown)]
        outermost = [p for p in whole if not any(p != other and p.startswith(other) for other in whole)]
        if len(outermost) > 1:
            raise several_networks(source, outermost)
        best = min([best, *inside.values()], key=lambda read: len(read.unknown))
    if 2 * len(best.unknown) > len(tensors):
        expected = 'in any known format' if source_format == 'auto' else f'in the format {source_format}'
        raise UserError(
            f'{source} holds no ConvNeXt {expected}: {len(best.unknown)} of its '
            f'{counted(len(tensors), "name")} {"is" if len(best.unknown) == 1 else "are"} unknown '
            f'({listed(best.unknown)})'
        )
    for ours, theirs in best.names.items():
        dtype = best.tensors[ours].dtype
        # torch.float4_e2m1fn_x2 packs two numbers, and nothing unpacks them.
        readable = dtype.is_floating_point and not str(dtype).startswith('torch.float4')
        if ours.startswith(('backbone.', 'head.')) and not readable:
            raise UserError(
                f'{source}: {shortened(theirs, 100)} is of {dtype}; expected floating point weights, not '
                'quantized ones'
            )
    return best


def several_networks(source: str, prefixes: list[str]) -> UserError:
    return UserError(
        f'{source} holds several networks, whose names start with {listed(prefixes)}; save the one that you '
        'mean in a file of its own, without that start'
    )


def prefixes_of(tensors: dict[str, Tensor]) -> list[str]:
    """What stands in front of names of a first convolution, the shortest first."""
    found = {name.removesuffix(stem) for name in tensors for stem in stems() if name.endswith(f'.{stem}')}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def read_as(tensors: dict[str, Tensor], candidates: dict, source: str, prefix: str = '') -> Weights:
    """The tensors whose names start with a prefix, as the best of the formats has them."""
    inside = {name.removeprefix(prefix): w for name, w in tensors.items() if name.startswith(prefix)}
    read = {name: form.read(inside) for name, form in candidates.items()}
    form, renamed = min(read.items(), key=lambda item: len(item[1].unknown))
    unknown = [prefix + name for name in renamed.unknown]
    unknown += [name for name in tensors if not name.startswith(prefix)]
    names = {ours: prefix + theirs for ours, theirs in renamed.names.items()}
    twice = next((name for name in unknown if name in renamed.weights), None)
    if twice is not None:
        raise UserError(
            f'{source} holds two tensors for {shortened(twice, 100)}, the other as '
            f'{shortened(names.get(twice, twice), 100)}; take one of them out of the file'
        )
    kept = renamed.weights | {name: tensors[name] for name in unknown}
    left_out = tuple(prefix + name for name in renamed.left_out)
    return Weights(kept, source, form, tuple(unknown), left_out, names=names)


def described_by_config(loaded: Weights, source: str | Path) -> Weights:
    """Add what config.json and preprocessor_config.json beside the weights say."""
    config, preprocessor = (beside(source, name) for name in ('config.json', 'preprocessor_config.json'))
    if config is None:
        return loaded
    fields = read_json(config)
    described, classes = network_of_config(fields, str(config)), class_names(fields, str(config))
    found = network_of(loaded.tensors)
    check_described(described, found, config)
    if classes and found.head and len(classes) != found.head['num_classes']:
        outputs = counted(found.head['num_classes'], 'output')
        raise UserError(f'{config} names {counted(len(classes), "class")} for {outputs}')
    channels = found.backbone.get('in_channels', 3)
    if preprocessor:
        preprocessing = preprocessing_of_config(read_json(preprocessor), str(preprocessor))
    else:
        preprocessing = preprocessing_of_size(fields, str(config)).for_channels(channels)
    if preprocessing.channels != channels:
        preprocessing = None
    elif channels != 3:
        preprocessing = replace(preprocessing, color='gray' if channels == 1 else 'unchanged')
    head = found.head and {**(described.head or {}), **found.head}
    network = Network({**found.backbone, **described.backbone}, head)
    return replace(loaded, network=network, preprocessing=preprocessing, classes=classes)


def check_described(described: Network, found: Network, config: Path) -> None:
    """Raise UserError unless a description and the shapes of its weights agree."""
    sizes, expected = (resolve_arch(network.backbone['arch']) for network in (found, described))
    pairs = {
        'depths': (sizes['depths'], expected['depths']),
        'hidden_sizes': (sizes['channels'], expected['channels']),
        'num_channels': (found.backbone.get('in_channels', 3), described.backbone.get('in_channels', 3)),
        'patch_size': (sizes['stem_patch_size'], described.backbone.get('stem_patch_size', 4)),
    }
    for field_name, (there, said) in pairs.items():
        if there != said:
            raise UserError(f'{config} says {field_name} {said}, but the weights beside it have {there}')
    if bool(found.backbone.get('use_grn')) != bool(described.backbone.get('use_grn')):
        raise UserError(
            f'{config} is for {title(described)}, but the weights beside it are of {title(found)}'
        )


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
    check_known(loaded, ())
    network = loaded.network or network_of(loaded.tensors)
    # Detectors bring heads of their own; pre-trained encoders have none, and no last norm.
    headless = network.head is None
    check_fit(loaded.tensors, network.build_on_meta(), loaded.source, new_head=headless, rename=loaded.rename)


def check_class_count(loaded: Weights) -> None:
    """Raise UserError if there are other names of classes than outputs."""
    head = head_arguments(loaded.tensors)
    if loaded.classes and head and len(loaded.classes) != head['num_classes']:
        raise UserError(
            f'{loaded.source} names {counted(len(loaded.classes), "class")} for '
            f'{counted(head["num_classes"], "output")}; set '
            "meta['dataset_meta']['classes'] to a name for each output, or take it out of the file"
        )


def check_known(loaded: Weights, known: Container[str]) -> None:
    """Raise UserError if there are weights that neither their format nor a model knows.

    Args:
        loaded: the weights.
        known: names of the model that they are for.
    """
    unknown = [name for name in loaded.unknown if name not in known]
    if unknown:
        raise UserError(
            f'{loaded.source} looks like {loaded.format}, but {counted(len(unknown), "name")} '
            f'{"is" if len(unknown) == 1 else "are"} unknown there: {listed(unknown)}. They may belong '
            'to a head or a part that is not understood, without which results would be wrong; if not, take '
            'them out of the file'
        )
