"""Find the network that weights belong to, and check that weights fit a model.

The hooks at the end check what mmengine loads, for example for
``init_cfg=dict(type='Pretrained', checkpoint='mmconvnext://NAME', prefix='backbone.')``.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..errors import UserError
from ..text import listed, shortened
from .network import ARCHS, Network, resolve_arch

Shapes = dict[str, tuple[int, ...]]

MAX_STAGES = 16
MAX_BLOCKS = 1000  # in all stages
MAX_MODULES_NAMED = 12  # in a line of the log; a detector has so many besides its backbone


def network_of(weights: dict[str, Tensor]) -> Network:
    """Return the network that has these weights, under our names.

    Shapes do not show the activation, the eps of the norms and where the last norm sits; these are
    those of the named arch with these sizes, else the default. An RMSNorm is told by its missing bias.

    Raises:
        UserError: a stage begins with something else than a block, or a block is missing.
    """
    shapes = {
        name.removeprefix('backbone.'): tuple(weight.shape)
        for name, weight in weights.items()
        if name.startswith('backbone.')
    }
    try:
        empty = next((name for name, weight in weights.items() if not weight.numel()), None)
        if empty is not None:
            raise LookupError(f'{shortened(empty, 100)} is empty')
        return Network(backbone_arguments(shapes), head_arguments(weights))
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f'the weights are not those of a whole ConvNeXt ({error}): a part is missing or oddly shaped'
        ) from error


def backbone_arguments(shapes: Shapes) -> dict:
    depths = stage_depths(shapes)
    depthwise = [shapes[f'stages.{i}.0.depthwise_conv.weight'] for i in range(len(depths))]
    hidden, outer, *convolution = shapes['stages.0.0.pointwise_conv1.weight']
    _, in_channels, _, patch_size = shapes['downsample_layers.0.0.weight']
    stem_type = stem_type_of(shapes)
    arch = dict(depths=depths, channels=tuple(shape[0] for shape in depthwise))
    if stem_type == 'patch' and patch_size != 4:
        arch['stem_patch_size'] = patch_size
    if stem_type == 'patch' and 'downsample_layers.0.1.weight' not in shapes:
        arch['stem_norm'] = False
    if 'stages.0.0.norm.bias' not in shapes:
        arch['norm_cfg'] = dict(type='RMSNorm2d', eps=1e-6)

    kernel_sizes = tuple(shape[-1] for shape in depthwise)
    norms = tuple(i for i in range(len(depths)) if f'norm{i}.weight' in shapes)
    # What differs from the defaults of ConvNeXt.
    told = dict(
        in_channels=(in_channels, 3),
        stem_type=(stem_type, 'patch'),
        kernel_size=(kernel_sizes, (7,) * len(depths)),
        mlp_ratio=(hidden / outer, 4.0),
        linear_pw_conv=(not convolution, True),
        conv_bias=('stages.0.0.depthwise_conv.bias' in shapes, True),
        use_grn=('stages.0.0.grn.gamma' in shapes, False),
        layer_scale_init_value=(1e-6 if 'stages.0.0.gamma' in shapes else 0.0, 1e-6),
        out_indices=(norms or (len(depths) - 1,), (len(depths) - 1,)),
    )
    return dict(arch=name_of(arch)) | {
        key: found for key, (found, default) in told.items() if found != default
    }


def stage_depths(shapes: Shapes) -> tuple[int, ...]:
    """Return the number of blocks of each stage, all of which must be complete."""
    blocks = {tuple(map(int, name.split('.')[1:3])) for name in shapes if name.startswith('stages.')}
    stages = 1 + max((stage for stage, _ in blocks), default=0)
    if stages > MAX_STAGES or len(blocks) > MAX_BLOCKS:
        raise LookupError(f'there are {stages} stages with {len(blocks)} blocks')
    depths = tuple(1 + max((b for s, b in blocks if s == stage), default=0) for stage in range(stages))
    for stage, depth in enumerate(depths):
        # Not a set of all numbers up to the largest: that may be a made-up one.
        missing = next((block for block in range(depth) if (stage, block) not in blocks), None)
        if missing is not None:
            raise LookupError(f'stages.{stage}.{missing}')
    return depths


def stem_type_of(shapes: Shapes) -> str:
    """Return whether a second convolution follows the first, directly or after an activation."""
    first = shapes['downsample_layers.0.0.weight']
    if len(shapes.get('downsample_layers.0.2.weight', ())) == 4:
        return 'overlap_act'
    second = shapes.get('downsample_layers.0.1.weight', ())
    if len(second) == 4:
        return 'overlap' if first[0] == second[0] else 'overlap_tiered'
    return 'patch'


def name_of(arch: dict) -> str | dict:
    """Return the name of the arch with these sizes, which also determines its norm."""

    def visible(entry: dict) -> dict:
        full = resolve_arch(entry)
        return {**full, 'norm_cfg': full['norm_cfg']['type'] == 'LN2d'}

    return next((name for name, known in ARCHS.items() if visible(known) == visible(arch)), arch)


def head_arguments(weights: dict[str, Tensor]) -> dict | None:
    if 'head.fc.weight' in weights:
        return dict(num_classes=weights['head.fc.weight'].shape[0])
    if 'head.layers.1.fc.weight' in weights:
        hidden_channels, num_classes = (weights[f'head.layers.{i}.fc.weight'].shape[0] for i in (0, 1))
        return dict(num_classes=num_classes, hidden_channels=hidden_channels)
    return None


def title(network: Network) -> str:
    """Return the title of a network: its version and size."""
    arch, backbone = network.backbone['arch'], network.backbone
    version = 'V2' if backbone.get('use_grn') else 'V1'
    if isinstance(arch, str):
        name = f'ConvNeXt {version} {arch}'
    else:
        depths, channels = (', '.join(map(str, arch[key])) for key in ('depths', 'channels'))
        name = f'a ConvNeXt {version} of depths {depths} and channels {channels}'
        patch_size = arch.get('stem_patch_size', 4)
        name += f', with a stem of {patch_size} x {patch_size} pixels' if patch_size != 4 else ''
    in_channels = backbone.get('in_channels', 3)
    return (
        name if in_channels == 3 else f'{name} for images of {in_channels} channel{"s" * (in_channels > 1)}'
    )


def check_fit(
    weights: dict[str, Tensor],
    model: nn.Module,
    source: str,
    *,
    new_head: bool = False,
    rename: Callable[[dict[str, Tensor]], dict[str, str]] | None = None,
) -> None:
    """Raise unless the weights have the model's names and shapes.

    Args:
        weights: name to tensor; nothing is copied.
        model: may be on the meta device.
        source: what to call the weights in the message.
        new_head: only the backbone has to fit, since the head is trained anew, and with it the
            norm in front of it, which pre-training does not have.
        rename: gives the source's names for ours, for the message.

    Raises:
        UserError: the weights belong to another network, or listing what is missing, unexpected or of
            another shape.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    reshaped = [n for n, w in wanted.items() if n in weights and not same_shape(n, weights[n], w)]
    if new_head:
        missing, unexpected = (
            [name for name in names if not name.startswith('backbone.norm')]
            for names in (missing, unexpected)
        )
        missing, unexpected, reshaped = (
            [name for name in names if name.startswith('backbone.')]
            for names in (missing, unexpected, reshaped)
        )
    if not missing + unexpected + reshaped:
        return
    found, expected = titles(weights, wanted)
    if found == expected and not reshaped:
        check_trained_for(missing, unexpected, source, found)
    theirs = rename({**wanted, **weights}) if rename else {}

    def told(name: str) -> str:
        return shortened(theirs.get(name, name), 100)

    problems = [
        f'{len(entries)} {kind} ({listed(entries)})'
        for kind, entries in (
            ('missing', [f'{told(name)} {tuple(wanted[name].shape)}' for name in missing]),
            ('unexpected', [f'{told(name)} {tuple(weights[name].shape)}' for name in unexpected]),
            (
                'of another shape',
                [
                    f'{told(n)}: checkpoint {tuple(weights[n].shape)}, model {tuple(wanted[n].shape)}'
                    for n in reshaped
                ],
            ),
        )
        if entries
    ]
    if found != expected:
        raise UserError(
            f'{source} does not fit the model: it holds the weights of {found}, the model is {expected}; '
            f'choose weights of that network, or its config. In detail: {"; ".join(problems)}'
        )
    raise UserError(
        f'{source} does not fit the model: {"; ".join(problems)}. '
        'Either the file is not whole, or it was made with another config.'
    )


def check_trained_for(missing: list[str], unexpected: list[str], source: str, network: str) -> None:
    """Raise UserError if only the classifier is missing, or only the decoder of a pre-training."""
    missing, unexpected = (
        {name.partition('.')[0] for name in names if not name.startswith('backbone.norm')}
        for names in (missing, unexpected)
    )
    if missing == {'head'} and not unexpected:
        raise no_classifier(source, network)
    if missing == {'neck'} and unexpected <= {'head'}:
        raise UserError(
            f'{source} has no decoder of this model, without which it predicts no pixels. Name a checkpoint '
            'of this '
            f'pre-training, or start one from these weights: --cfg-options load_from={source}, and another '
            '--work-dir'
        )


def no_classifier(source: str, network: str) -> UserError:
    """Return the error for weights of a pre-training in the place of a classifier.

    Args:
        source: name of the weights.
        network: its title.
    """
    return UserError(
        f'{source} was pre-trained without a classifier: it gives features, not classes. Fine-tune it with a '
        f'classification config of its network{f" ({network})" if network else ""}: tools/train.py CONFIG '
        f'--work-dir FOLDER --cfg-options load_from={source}; then use the checkpoint of that training. '
        'tools/linear_probe.py and mmconvnext.get_model use its features'
    )


def titles(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[str, str]:
    """Return the titles of the networks of two sets of weights; both are empty if one is incomplete."""
    try:
        return title(network_of(weights)), title(network_of(wanted))
    except UserError:
        return '', ''


def head_changes(
    weights: dict[str, Tensor], model: nn.Module, source: str, left_out: Iterable[str] = ()
) -> str | None:
    """Return a line for the log on parameters that these weights do not initialize, or None.

    Args:
        weights: name to tensor, which fit the backbone, see ``check_fit``.
        model: may be on the meta device.
        source: name of the weights in the line.
        left_out: names in the source that are not among the weights.
    """
    wanted = model.state_dict()
    reshaped = [
        f'{n} {tuple(w.shape)} -> {tuple(wanted[n].shape)}'
        for n, w in weights.items()
        if n in wanted and not same_shape(n, w, wanted[n])
    ]
    new = reshaped + modules_of(name for name in wanted if name not in weights)
    surplus = [name for name in weights if name not in wanted]
    if not new and not surplus:
        return None
    parts = {'left out': modules_of([*surplus, *left_out]), 'initialized from scratch': new}
    told = [f'{kind}: {listed(names, MAX_MODULES_NAMED)}' for kind, names in parts.items() if names]
    return '; '.join([f'{source} is loaded', *told])


def modules_of(names: Iterable[str]) -> list[str]:
    """Return the starts of names, ``head.fc`` or ``neck.decoder``, each once."""
    return list(dict.fromkeys('.'.join(name.split('.')[:2]) for name in names))


def same_shape(name: str, found: Tensor, wanted: Tensor) -> bool:
    """Compare shapes; a linear layer equals a 1x1 convolution, because ``ConvNeXtBlock`` loads either."""
    if '.pointwise_conv' in name and min(found.ndim, wanted.ndim) >= 2:
        found, wanted = found.flatten(1), wanted.flatten(1)
    return found.shape == wanted.shape


# mmengine names the function, from its eleventh letter on, in its log.
@CheckpointLoader.register_scheme('mmconvnext://')
def load_from_mmconvnext(filename: str, map_location=None, **_) -> dict:
    """Return the weights of a checkpoint of the zoo, downloaded, verified and under our names."""
    # The border at which mmengine asks for a name; the zoo stands on the models.
    from ..zoo.names import load_weights

    return dict(state_dict=from_file(load_weights(filename).tensors, filename))


class FileMetadata(dict):
    """Return the metadata of a state dict with the file of the weights for every module."""

    def __init__(self, source: str):
        super().__init__()
        self.source = source

    def get(self, module: str, default: Any = None) -> dict:
        return dict(super().get(module, default) or {}, source=self.source)


def from_file(weights: dict[str, Tensor], source: str) -> OrderedDict[str, Tensor]:
    """Mark weights that mmengine will load, so that ``check_loaded`` knows them."""
    marked = OrderedDict(weights)
    marked._metadata = FileMetadata(source)  # the attribute by which torch passes it to each module
    return marked


def check_loaded(backbone: nn.Module, weights: dict[str, Tensor], prefix: str, metadata: dict, *_) -> None:
    """Check, before mmengine loads a file into a model, that its weights belong to the backbone.

    A backbone on its own, without a prefix, is that of ``init_cfg``: see ``check_pretrained``. mmengine only
    logs what does not fit, and a training starts from random weights.

    Raises:
        UserError: weights of another architecture.
    """
    parameters = dict(backbone.named_parameters())
    if (
        not prefix or 'source' not in metadata or any('flat_param' in name for name in parameters)
    ):  # sharded ones
        return
    check_fit(
        {f'backbone.{n.removeprefix(prefix)}': w for n, w in weights.items() if n.startswith(prefix)},
        nn.ModuleDict(dict(backbone=backbone)),
        metadata['source'],
        new_head=True,
    )


def check_pretrained(backbone: nn.Module, weights: dict[str, Tensor], *_) -> None:
    """Check, before pre-trained weights are loaded, that they belong to this network.

    A classifier has one norm, which follows its pooling. Where several maps are normed it is left
    out: the official detectors and segmenters start with new norms behind every stage.

    Raises:
        UserError: weights of another architecture, or names that start with ``backbone.``.
    """
    if any(name.startswith('backbone.') for name in weights):
        raise UserError(
            "the names of the pre-trained weights start with 'backbone.': write "
            "init_cfg=dict(type='Pretrained', prefix='backbone.', ...)"
        )
    norms = {name for name in weights if name.startswith('norm')}
    if len({name.partition('.')[0] for name in norms}) == 1 < len(backbone.out_indices):
        for name in norms:
            del weights[name]
    check_fit(
        {f'backbone.{name}': weight for name, weight in weights.items()},
        nn.ModuleDict(dict(backbone=backbone)),
        'the pre-trained checkpoint',
        new_head=True,
    )
