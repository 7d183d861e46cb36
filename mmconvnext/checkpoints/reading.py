"""Read weights in any format, with our parameter names."""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..images.preprocessing import Preprocessing
from ..models.fitting import check_fit, head_arguments, network_of
from ..models.network import Network
from ..text import counted, listed, shortened
from .formats import DIRECTORIES, FORMATS, find_format, stems
from .loading import load_checkpoint
from .training_description import described_by_meta
from .transformers_directory import described_by_directory, weight_file

# Detectors and text towers with their averages have a few thousand; every rule of every format meets each.
MAX_TENSORS = 10_000
MAX_PREFIXES = 16  # networks in one file
# How often a file may show a value: older mmcls files name a weight and its average, which may be one tensor.
MAX_SHARING = 4
# Of models wrapped for several processes, or compiled as a whole or in parts.
WRAPPERS = re.compile(r'^(module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.')

# What a checkpoint with an average has -> where the weights are and where their average is: our own of
# mmengine's EMAHook, those of timm's training script and those of the official code.
AVERAGED = {
    'ema_state_dict': dict(raw='ema_state_dict', ema='state_dict'),
    'state_dict_ema': dict(raw='state_dict', ema='state_dict_ema'),
    'model_ema': dict(raw='model', ema='model_ema'),
    'params_ema': dict(raw='params', ema='params_ema'),
}
# Where weights are if a file has several sets of tensors, the first of these that is there.
USUAL_PLACES = ('state_dict', 'model')
MAX_NESTING = 4  # dicts around weights


@dataclass(frozen=True)
class Weights:
    """Weights with our names, and facts from their source.

    Attributes:
        tensors: name -> tensor.
        source: name of the source in messages.
        format: name of the source's format.
        unknown: names in the source that its format does not have, unchanged in ``tensors``.
        left_out: name in the source -> tensor, without a counterpart in our network, such as the decoder of a
            pre-training.
        network: network, if the source describes it; else it is inferred from shapes, see ``network_of``.
        preprocessing: preprocessing, if the source describes it.
        classes: class names, if the source has them.
        names: our name -> name in the source.
        needs_config: what the source cannot describe of the network, see ``Description``.
    """

    tensors: dict[str, Tensor]
    source: str
    format: str
    unknown: tuple[str, ...] = ()
    left_out: dict[str, Tensor] = field(default_factory=dict, repr=False)
    network: Network | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    names: dict[str, str] = field(default_factory=dict, repr=False)
    needs_config: str | None = None

    def with_parts_of(self, wanted: Container[str]) -> 'Weights':
        """Take back what was left out, but a model has: a pre-training goes on with its decoder."""
        parts = {name: tensor for name, tensor in self.left_out.items() if name in wanted}
        left_out = {name: tensor for name, tensor in self.left_out.items() if name not in parts}
        return replace(self, tensors={**self.tensors, **parts}, left_out=left_out)

    def rename(self, tensors: dict[str, Tensor]) -> dict[str, str]:
        """Rename our names to those of the source, including names that it lacks."""
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
        source: file, URL, or directory of transformers.
        source_format: name in ``FORMATS``, or ``auto``.
        weights: ``ema`` or ``raw`` for a checkpoint with both, see ``weights_of``.
        trust: see ``load_checkpoint``.
        mmap: see ``load_checkpoint``.

    Raises:
        UserError: the source cannot be read, its format is not supported, or it has no such weights.
    """
    if Path(source).expanduser().is_dir():
        source = weight_file(Path(source).expanduser())
    checkpoint = load_checkpoint(source, trust=trust, mmap=mmap)
    loaded = recognise(weights_of(checkpoint, weights), str(source), source_format)
    if loaded.format in DIRECTORIES:
        return replace(loaded, **described_by_directory(source, loaded.tensors))
    meta = checkpoint.get('meta')
    described = described_by_meta(meta, loaded.tensors, loaded.source) if isinstance(meta, Mapping) else {}
    if loaded.format == 'timm-norm-first':
        found = network_of(loaded.tensors)
        described['network'] = Network({**found.backbone, 'gap_before_final_norm': False}, found.head)
    return replace(loaded, **described)


def weights_of(checkpoint: dict, which: str | None = None) -> dict[str, Tensor]:
    """Return name -> tensor from nested dicts such as ``state_dict``, without ``module.`` and ``_orig_mod.``.

    Args:
        checkpoint: content of a file.
        which: ``ema`` for averaged weights, ``raw`` for the weights themselves; None: the only ones in the
            file, or those in ``state_dict`` or ``model``.

    Raises:
        UserError: there are no weights, not the requested ones, several sets of them, or two tensors with one
            name.
    """
    place = (key_of_weights(checkpoint, which),) if which is not None else usual_place(checkpoint)
    weights = checkpoint
    for key in place:
        weights = weights[key]
    found, names = {}, {}
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or not isinstance(name, str) or name == 'steps':
            continue  # mmengine counts updates in 'steps'
        inner = WRAPPERS.sub('', name)
        if inner in found:
            raise UserError(
                f'the checkpoint holds two tensors for {shortened(inner, 100)}: '
                f'{shortened(names[inner], 100)} and {shortened(name, 100)}; take one of them out of the file'
            )
        found[inner], names[inner] = weight, name
    if not found:
        keys = [shortened(key, 40) for key in checkpoint if isinstance(key, str)]
        raise UserError(f'the checkpoint holds no weights; its keys are {sorted(keys)[:10]}')
    return found


def usual_place(checkpoint: dict) -> tuple[str, ...]:
    """Return the keys that lead to the weights.

    Raises:
        UserError: there are several sets of weights, and none at a usual key.
    """
    places = list(places_of_weights(checkpoint, (), set()))
    for key in USUAL_PLACES:
        usual = [place for place in places if place[:1] == (key,)]
        places = usual or places
    if len(places) > 1:
        options = [shortened('/'.join(place), 40) for place in places]
        raise UserError(
            f'the checkpoint holds several sets of weights, under {", ".join(options[:10])}; save the one '
            "that you mean in a file of its own: torch.save(torch.load(FILE)['...'], NEW_FILE)"
        )
    return places[0] if places else ()


def places_of_weights(node: dict, place: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, ...]]:
    """Return the keys to each dict that has tensors with names such as ``stem.0.weight``."""
    tensors = [name for name, value in node.items() if isinstance(value, Tensor) and isinstance(name, str)]
    if any('.' in name for name in tensors) or (tensors and place and place[-1] in USUAL_PLACES):
        yield place
        return
    for name, value in node.items():
        if isinstance(value, dict) and isinstance(name, str) and id(value) not in seen:
            seen.add(id(value))
            if len(place) < MAX_NESTING:
                yield from places_of_weights(value, (*place, name), seen)


def key_of_weights(checkpoint: dict, which: str) -> str:
    """Return the key of the weights or their average in a checkpoint."""
    for key, places in AVERAGED.items():
        if key in checkpoint and all(isinstance(checkpoint.get(place), dict) for place in places.values()):
            return places[which]
    present = [key for key in ('state_dict', 'model', *AVERAGED) if isinstance(checkpoint.get(key), dict)]
    raise UserError(
        f'--weights {which}: the checkpoint has one set of weights'
        f'{f", under {present[0]}," if present else ""} and does not say whether it is an average; '
        'leave out --weights to take it'
    )


def recognise(tensors: dict[str, Tensor], source: str, source_format: str = 'auto') -> Weights:
    """Rename tensors to our names with the format that knows most of them.

    Names may start with a prefix that a trainer, such as Lightning, adds.

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


def check_stored(weights: dict[str, Tensor], source: str) -> None:
    """Raise UserError unless a file contains as many values as its weights claim.

    A tensor can be a view that repeats one number, and tensors can share numbers, but a network needs memory
    for each.

    Raises:
        UserError: there are fewer; the message names the largest tensor.
    """
    stored, claimed = {}, 0
    for tensor in weights.values():
        if tensor.device.type == 'meta':
            return
        if tensor.layout is not torch.strided:
            raise UserError(f'{source} holds sparse tensors; save them as dense ones (tensor.to_dense())')
        storage = tensor.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        claimed += tensor.numel() * tensor.element_size()
    held = sum(stored.values())
    if claimed > MAX_SHARING * held:
        name = max(weights, key=lambda name: weights[name].numel())
        raise UserError(
            f'{source} claims {claimed:,} bytes of weights and holds {held:,}: parts of them, perhaps '
            f'{shortened(name, 100)} {tuple(weights[name].shape)}, show the same numbers many times. Save '
            'the weights again with tensors of their own (tensor.clone())'
        )


def several_networks(source: str, prefixes: list[str]) -> UserError:
    return UserError(
        f'{source} holds several networks, whose names start with {listed(prefixes)}; save the one that you '
        'mean in a file of its own, without that start'
    )


def prefixes_of(tensors: dict[str, Tensor]) -> list[str]:
    """Return the prefixes of first convolutions, shortest first."""
    found = {name.removesuffix(stem) for name in tensors for stem in stems() if name.endswith(f'.{stem}')}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def read_as(tensors: dict[str, Tensor], candidates: dict, source: str, prefix: str = '') -> Weights:
    """Rename the tensors with a prefix, with the best of the formats."""
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
    left_out = {prefix + name: inside[name] for name in renamed.left_out}
    return Weights(kept, source, form, tuple(unknown), left_out, names=names)


def check_whole(loaded: Weights) -> None:
    """Raise UserError unless the weights are exactly those of a network."""
    check_known(loaded, ())
    network = loaded.network or network_of(loaded.tensors)
    # Detectors bring heads of their own; pre-trained encoders have none, and no last norm.
    headless = network.head is None
    check_fit(loaded.tensors, network.build_on_meta(), loaded.source, new_head=headless, rename=loaded.rename)


def check_class_count(loaded: Weights) -> None:
    """Raise UserError if the numbers of class names and outputs differ."""
    if not loaded.classes:
        return
    head = loaded.network.head if loaded.network else head_arguments(loaded.tensors)
    if head and len(loaded.classes) != head['num_classes']:
        raise UserError(
            f'{loaded.source} names {counted(len(loaded.classes), "class")} for '
            f'{counted(head["num_classes"], "output")}; set '
            "meta['dataset_meta']['classes'] to a name for each output, or take it out of the file"
        )


def check_known(loaded: Weights, known: Container[str]) -> None:
    """Raise UserError if weights are unknown to both their format and a model.

    Args:
        loaded: weights.
        known: parameter names of the model.
    """
    unknown = [name for name in loaded.unknown if name not in known]
    if unknown:
        raise UserError(
            f'{loaded.source} looks like {loaded.format}, but {counted(len(unknown), "name")} '
            f'{"is" if len(unknown) == 1 else "are"} unknown there: {listed(unknown)}. They may belong '
            'to a head or a part that is not understood, without which results would be wrong; if not, take '
            'them out of the file'
        )
