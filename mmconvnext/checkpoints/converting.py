"""From any format to our weights and back, whole or not at all."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..datasets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from ..errors import UserError
from ..models.archs import ARCHS, resolve_arch
from ..models.network import Network
from .downloading import MissingFileError, fetch
from .formats import FORMATS, Format
from .inspecting import network_of
from .loading import load_checkpoint
from .matching import check_fit, listed, weights_of
from .tensorflow import write_h5
from .transformers_directory import (
    WEIGHT_FILES,
    class_names,
    config_of_network,
    config_of_preprocessing,
    network_of_config,
    preprocessing_of_config,
    read_json,
)

if TYPE_CHECKING:
    from ..zoo.entries import Entry

TORCH_SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')
DIRECTORIES = {'transformers', 'transformers-dinov3', 'tensorflow'}
# Of images, where no preprocessor_config.json says so.
STATISTICS = dict(image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)
SUFFIXES = dict.fromkeys(DIRECTORIES, ('',)) | {'keras': ('.h5',)}
# timm's networks of these sizes have 1x1 convolutions for linear layers (timm/models/convnext.py, conv_mlp).
TIMM_CONVOLUTIONS = ('zepto', 'atto', 'femto', 'pico', 'nano')


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
    source: str | Path, source_format: str = 'auto', *, trust: bool = False, mmap: bool = False
) -> Weights:
    """Weights of any supported format.

    Args:
        source: a file, a URL, a directory that transformers saved, or a checkpoint of the zoo as
            ``NAME`` or ``mmconvnext://NAME``.
        source_format: one of ``FORMATS``, or ``auto``.
        trust: see ``load_checkpoint``.
        mmap: see ``load_checkpoint``.

    Raises:
        UserError: the source cannot be read, or is of no supported format.
    """
    from ..zoo.entries import get_entry, source_of  # the zoo is built on this module

    source = source_of(source)
    if source.startswith('mmconvnext://'):
        entry = get_entry(source.removeprefix('mmconvnext://'))
        return load_entry(entry, trust=trust, mmap=mmap)
    if Path(source).expanduser().is_dir():
        source = weight_file(Path(source).expanduser())
    checkpoint = load_checkpoint(source, trust=trust, mmap=mmap)
    loaded = recognise(weights_of(checkpoint), str(source), source_format)
    if loaded.format in DIRECTORIES:
        return described_by_config(loaded, source)
    classes = dict(checkpoint.get('meta') or {}).get('dataset_meta', {}).get('classes')
    return replace(loaded, classes=tuple(map(str, classes)) if classes else None)


def load_entry(entry: 'Entry', *, trust: bool = False, mmap: bool = False) -> Weights:
    """Weights of a checkpoint of the zoo, with what the zoo knows of them; see ``load_weights``."""
    loaded = load_weights(entry.weights, entry.format, trust=trust, mmap=mmap)
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
    network = network_of_config(fields)
    sizes = resolve_arch(network_of(loaded.tensors).backbone['arch'])
    described = resolve_arch(network.backbone['arch'])
    if any(sizes[key] != described[key] for key in ('depths', 'channels')):
        raise UserError(
            f'{config} says depths {described["depths"]} and hidden_sizes {described["channels"]}, but the '
            f'weights beside it have {sizes["depths"]} and {sizes["channels"]}'
        )
    return replace(
        loaded,
        network=Network(network.backbone, network_of(loaded.tensors).head),
        preprocessing=preprocessing_of_config(
            read_json(preprocessor)
            if preprocessor
            else dict(size=fields.get('image_size', 224), **STATISTICS)
        ),
        classes=class_names(fields),
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


def find_format(name: str) -> Format:
    if name not in FORMATS:
        raise UserError(f'format {name!r} is unknown; choose from {", ".join(FORMATS)}')
    return FORMATS[name]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    source_format: str = 'auto',
    target_format: str = 'openmmlab',
    trust: bool = False,
) -> Weights:
    """Write the weights of one format in another.

    Args:
        source: see ``load_weights``.
        target: the file to make; of the format transformers, the directory.
        source_format: see ``load_weights``.
        target_format: one of ``FORMATS``.
        trust: see ``load_checkpoint``.

    Returns:
        The weights under our names.

    Raises:
        UserError: a name is unknown or missing, or the target format has no such network. Then
            nothing is written.
    """
    check_target(Path(target), target_format)
    loaded = load_weights(source, source_format, trust=trust)
    check_whole(loaded)
    save_weights(loaded, target, target_format)
    print(f'Wrote {target} ({target_format}) from {loaded.source} ({loaded.format})')
    if loaded.left_out:
        print(f'Left out, since our network has no place for it: {listed(loaded.left_out)}')
    return loaded


def check_target(target: Path, target_format: str) -> None:
    """Raise before the long reading if the target could not be written."""
    if not find_format(target_format).export:
        raise UserError(
            f'the format {target_format} can be read but not written: half of its model is not ours'
        )
    if target.exists():
        raise UserError(f'{target} exists already; delete it or choose another name')
    if not target.absolute().parent.is_dir():
        raise UserError(f'{target.parent} is not a folder; make it first')
    suffixes = SUFFIXES.get(target_format, TORCH_SUFFIXES)
    if target.suffix not in suffixes:
        expected = ' or '.join(suffixes) if suffixes != ('',) else 'none, since it is a directory'
        raise UserError(
            f'{target} ends in {target.suffix!r}; for {target_format} the ending should be {expected}'
        )


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


def save_weights(loaded: Weights, target: str | Path, target_format: str) -> None:
    """Write weights in a format; the file appears whole or not at all.

    Raises:
        UserError: the format has no such network.
    """
    target, form = Path(target), find_format(target_format)
    network = loaded.network or network_of(loaded.tensors)
    tensors = loaded.tensors
    if target_format.startswith('timm') and is_convolutional_in_timm(network, target_format):
        tensors = {n: w[..., None, None] if is_linear(n, w) else w for n, w in tensors.items()}
    deviations = network.deviations()
    if form.tolerates is not None:
        foreign = [finding for key, finding in deviations.items() if key not in form.tolerates]
        if foreign:
            raise UserError(f'{target_format} has no such network: {"; ".join(foreign)}')
    renamed = form.write(tensors)
    if renamed.unknown:
        raise UserError(
            f'{target_format} has no place for {len(renamed.unknown)} weights of {loaded.source}: '
            f'{listed(renamed.unknown)}'
        )
    # Views of one tensor would be written in full each.
    tensors = {name: weight.detach().clone().contiguous() for name, weight in renamed.weights.items()}
    with written_whole(target) as part:
        if target_format in DIRECTORIES:
            part.mkdir()
            save_directory(part, tensors, network, loaded, target_format)
        elif target_format == 'keras':
            write_h5(part, tensors)
        elif target.suffix == '.safetensors':
            save_file(tensors, part, metadata={'format': 'pt'})
        elif target_format == 'openmmlab':
            classes = {'dataset_meta': {'classes': loaded.classes}} if loaded.classes else {}
            torch.save({'meta': classes, 'state_dict': tensors}, part)
        else:
            torch.save({form.key: tensors} if form.key else tensors, part)


def is_convolutional_in_timm(network: Network, target_format: str) -> bool:
    arch = resolve_arch(network.backbone['arch'])
    sizes = [(ARCHS[name]['depths'], ARCHS[name]['channels']) for name in TIMM_CONVOLUTIONS]
    return target_format == 'timm-norm-first' or (arch['depths'], arch['channels']) in sizes


def is_linear(name: str, weight: Tensor) -> bool:
    return '.pointwise_conv' in name and weight.ndim == 2


def save_directory(
    directory: Path, tensors: dict[str, Tensor], network: Network, loaded: Weights, target_format: str
) -> None:
    """As transformers' ``save_pretrained`` of a model and its image processor."""
    preprocessing = loaded.preprocessing or Preprocessing()
    dinov3 = target_format == 'transformers-dinov3'
    config = config_of_network(network, preprocessing, loaded.classes, dinov3=dinov3)
    if target_format == 'tensorflow':
        write_h5(directory / 'tf_model.h5', tensors)
    else:
        save_file(tensors, directory / 'model.safetensors', metadata={'format': 'pt'})
    for name, content in (
        ('config.json', config),
        ('preprocessor_config.json', config_of_preprocessing(preprocessing)),
    ):
        (directory / name).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes the target if all goes well and vanishes if not."""
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=f'.{target.name}.') as folder:
        part = Path(folder, target.name)
        yield part
        part.rename(target)
