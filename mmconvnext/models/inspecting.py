"""Which network do these weights belong to? Read off their names and shapes."""

from torch import Tensor

from ..errors import UserError
from ..text import shortened
from .network import ARCHS, Network, resolve_arch

Shapes = dict[str, tuple[int, ...]]

MAX_STAGES = 16
MAX_BLOCKS = 1000  # in all stages


def network_of(weights: dict[str, Tensor]) -> Network:
    """The network that has these weights, under our names.

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
    """Blocks of each stage, all of which are there."""
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
    """Whether a second convolution follows the first, directly or behind an activation."""
    first = shapes['downsample_layers.0.0.weight']
    if len(shapes.get('downsample_layers.0.2.weight', ())) == 4:
        return 'overlap_act'
    second = shapes.get('downsample_layers.0.1.weight', ())
    if len(second) == 4:
        return 'overlap' if first[0] == second[0] else 'overlap_tiered'
    return 'patch'


def name_of(arch: dict) -> str | dict:
    """The name of the arch with these sizes, which then says more about its norm than shapes can."""

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
    """What to call a network: its version and size."""
    arch, backbone = network.backbone['arch'], network.backbone
    version = 'V2' if backbone.get('use_grn') else 'V1'
    if isinstance(arch, str):
        name = f'ConvNeXt {version} {arch}'
    else:
        depths, channels = (', '.join(map(str, arch[key])) for key in ('depths', 'channels'))
        name = f'a ConvNeXt {version} of depths {depths} and channels {channels}'
    in_channels = backbone.get('in_channels', 3)
    return (
        name if in_channels == 3 else f'{name} for images of {in_channels} channel{"s" * (in_channels > 1)}'
    )
