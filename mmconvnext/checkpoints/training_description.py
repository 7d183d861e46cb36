"""What our checkpoints say besides weights: how the network computes, how images are prepared.

Shapes do not show it. It is written under ``meta['mmconvnext']``, class names where mmengine keeps them, and
read back as data, see ``descriptions``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite

from ..datasets.preprocessing import Preprocessing
from ..datasets.wrappers import inner_settings
from ..errors import UserError
from ..models.activations import ACTIVATIONS
from ..models.archs import resolve_arch
from ..models.layers import NORMS
from ..models.network import DEFAULTS, HEAD_KINDS
from .descriptions import (
    MAX_CHANNELS,
    MAX_PIXELS,
    class_names,
    either,
    fields,
    flag,
    integer,
    number,
    one_of,
    optional,
    read_fields,
    several,
    text,
)

PIXELS = integer(1, MAX_PIXELS)
NORM = fields({'type': one_of(NORMS), 'eps': number(0, 1, above=True), 'requires_grad': flag}, closed=True)
# Arguments of the backbone that weights do not show.
BACKBONE = {
    'act_cfg': one_of(ACTIVATIONS),
    'norm_cfg': optional(NORM),
    'out_norm_cfg': optional(NORM),
    'gap_before_final_norm': flag,
    'output_stride': optional(one_of((8, 16, 32))),
}
PREPROCESSING = {
    'size': either(PIXELS, several(PIXELS, 2, 2)),
    'resize': optional(PIXELS),
    'interpolation': one_of(('nearest', 'bilinear', 'bicubic', 'box', 'lanczos', 'hamming', 'area')),
    'backend': one_of(('pillow', 'cv2')),
    'mean': several(number(-1e6, 1e6), MAX_CHANNELS),
    'std': several(number(0, 1e6, above=True), MAX_CHANNELS),
    'crop': one_of(('round', 'floor')),
    'color': one_of(('rgb', 'bgr', 'gray', 'unchanged')),
    'full_scale': optional(number(0, 1e9, above=True)),
    'to_float32': flag,
}
MAX_REASON = 200
DESCRIPTION = {
    'backbone': fields(BACKBONE),
    'head': one_of(HEAD_KINDS),
    'preprocessing': optional(fields(PREPROCESSING)),
    'needs_config': optional(text(MAX_REASON)),
}
# A registry's name of an activation -> ours, for the defaults of its arguments.
REGISTERED_ACTIVATIONS = {
    **{'GELU': 'gelu', 'ReLU': 'relu', 'ReLU6': 'relu6', 'SiLU': 'silu', 'Swish': 'swish', 'Mish': 'mish'},
    **{'Sigmoid': 'sigmoid', 'Tanh': 'tanh', 'PReLU': 'prelu', 'LeakyReLU': 'leaky_relu'},
}
SOFTMAX_HEADS = ('LinearClsHead', 'mmpretrain.LinearClsHead')
SIGMOID_HEADS = ('MultiLabelLinearClsHead', 'mmpretrain.MultiLabelLinearClsHead')
LOADERS = 'LoadImageFromFile', 'LoadImage'
CROPS = {'CenterCrop': 'round', 'FloorCenterCrop': 'floor'}


@dataclass(frozen=True)
class Description:
    """
    Attributes:
        backbone: arguments of ``ConvNeXt`` that weights do not show.
        head: ``kind`` of the head, if it is known.
        preprocessing: of the images in the test; None: not known.
        needs_config: what of the network this cannot say, so that the weights alone are not enough.
    """

    backbone: dict = field(default_factory=dict)
    head: dict = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    needs_config: str | None = None

    def to_meta(self) -> dict:
        """Plain values for a checkpoint's ``meta``."""
        preprocessing = self.preprocessing and asdict(self.preprocessing)
        meta = dict(backbone=self.backbone, preprocessing=preprocessing, needs_config=self.needs_config)
        return meta | ({'head': self.head['kind']} if 'kind' in self.head else {})


class Inexpressible(ValueError):
    """A config computes or prepares something that a description has no words for."""


def read_description(checkpoint: dict, source: str) -> Description | None:
    """What a checkpoint says of its network and its images.

    Raises:
        UserError: naming the field that has a value that none can have.
    """
    meta = checkpoint.get('meta')
    if not isinstance(meta, Mapping) or 'mmconvnext' not in meta:
        return None
    found = read_fields(meta['mmconvnext'], DESCRIPTION, f"{source}, meta['mmconvnext']")
    preprocessing = found.get('preprocessing')
    if preprocessing is not None:
        preprocessing = Preprocessing(**preprocessing)
        if len(preprocessing.mean) != len(preprocessing.std):
            raise UserError(f'{source}: its preprocessing has means and deviations of other channels')
    head = dict(kind=found['head']) if 'head' in found else {}
    return Description(found.get('backbone', {}), head, preprocessing, found.get('needs_config'))


def read_classes(checkpoint: dict, source: str) -> tuple[str, ...] | None:
    """The names of the outputs, where mmengine keeps them.

    Raises:
        UserError: they are no names.
    """
    found = checkpoint
    for key in ('meta', 'dataset_meta'):
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not found.get('classes'):
        return None
    schema = {'classes': class_names}
    return read_fields(found, schema, f"{source}, meta['dataset_meta']")['classes']


def describe_training(cfg: Mapping) -> Description | None:
    """What the checkpoints of a config's training say; None: it trains no classifier with our backbone."""
    model = cfg['model']
    backbone = model.get('backbone') or {}
    if not str(model.get('type')).endswith('ImageClassifier') or backbone.get('type') not in (
        'mmconvnext.ConvNeXt',
        'ConvNeXt',
    ):
        return None
    try:
        preprocessing = preprocessing_of_test(cfg)
    except Inexpressible:
        preprocessing = None
    try:
        unseen, head = describe_backbone(backbone), describe_head(model)
    except Inexpressible as error:
        return Description(preprocessing=preprocessing, needs_config=str(error)[:MAX_REASON])
    return Description(unseen, head, preprocessing)


def describe_backbone(backbone: Mapping) -> dict:
    arguments = {**DEFAULTS, **backbone}
    activation = arguments['act_cfg']
    if isinstance(activation, Mapping):
        activation = REGISTERED_ACTIVATIONS.get(activation['type']) if len(activation) == 1 else None
    if activation not in ACTIVATIONS:
        raise Inexpressible(f'the activation {arguments["act_cfg"]}')
    norm = arguments['norm_cfg'] or resolve_arch(arguments['arch'])['norm_cfg']
    return dict(
        act_cfg=activation,
        norm_cfg=plain_norm(norm),
        out_norm_cfg=plain_norm(arguments['out_norm_cfg'] or norm),
        gap_before_final_norm=arguments['gap_before_final_norm'],
        output_stride=arguments['output_stride'],
    )


def plain_norm(norm: Mapping) -> dict:
    if not {'type'} <= set(norm) <= {'type', 'eps', 'requires_grad'}:
        raise Inexpressible(f'the norm {norm}')
    default = 1e-5 if norm['type'] == 'LN2d' else None  # torch's, of which RMSNorm's depends on the dtype
    if (eps := norm.get('eps', default)) is None:
        raise Inexpressible(f'the norm {norm}')
    return dict(type=norm['type'], eps=eps)


def describe_head(model: Mapping) -> dict:
    head = model.get('head')
    if head is None:
        return {}
    neck = (model.get('neck') or {}).get('type', 'GlobalAveragePooling')
    if not str(neck).endswith('GlobalAveragePooling'):
        raise Inexpressible(f'the neck {neck}')
    kind = head.get('type')
    if kind == 'mmconvnext.LinearClsHead' and head.get('num_classes') == 1 and head.get('loss') is None:
        return dict(kind='regression')
    if kind in SOFTMAX_HEADS or kind == 'mmconvnext.LinearClsHead':
        return dict(kind='softmax')
    if kind in SIGMOID_HEADS:
        return dict(kind='sigmoid')
    raise Inexpressible(f'the head {kind}')


def preprocessing_of_test(cfg: Mapping) -> Preprocessing:
    """How the pipeline and the data_preprocessor of a config's test prepare images.

    Raises:
        Inexpressible: in a way that ``Preprocessing`` has no words for.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    pipeline = inner_settings(loader.get('dataset') or {})[0].get('pipeline') or []
    resizing = resizing_of(pipeline)
    prepare = {**(cfg.get('data_preprocessor') or {}), **(cfg['model'].get('data_preprocessor') or {})}
    if not str(prepare.get('type', 'ClsDataPreprocessor')).endswith('DataPreprocessor') or (
        prepare.get('pad_size_divisor', 1) != 1
    ):
        raise Inexpressible('its data_preprocessor')
    channels = cfg['model']['backbone'].get('in_channels', 3)
    color = color_of(pipeline, channels, to_rgb=prepare.get('to_rgb', False))
    mean, std = prepare.get('mean'), prepare.get('std')
    if mean is None or std is None:
        mean, std = [0.0], [1.0]
    mean, std = (list(values) * channels if len(values) == 1 else list(values) for values in (mean, std))
    if not len(mean) == len(std) == channels or not all(map(isfinite, (*mean, *std))) or min(std) <= 0:
        raise Inexpressible('its mean and deviation')
    reading = reading_of(pipeline)
    unit = reading['full_scale'] or 1.0
    mean, std = (tuple(value / unit for value in values) for values in (mean, std))
    preprocessing = Preprocessing(**resizing, **reading, mean=mean, std=std, color=color)
    try:
        read_fields(asdict(preprocessing), PREPROCESSING, 'the preprocessing')
    except UserError as error:  # nobody could read it back
        raise Inexpressible(str(error)) from error
    return preprocessing


def loader_of(pipeline: list[Mapping]) -> Mapping:
    """The step that reads files."""
    return next((step for step in pipeline if kind(step) in LOADERS), {})


def reading_of(pipeline: list[Mapping]) -> dict:
    """``full_scale`` and ``to_float32`` of ``Preprocessing``."""
    loader = loader_of(pipeline)
    as_stored = loader.get('color_type') == 'unchanged'
    scale = loader.get('full_scale')
    scale = (None if as_stored else 255.0) if scale is None else float(scale)
    return dict(full_scale=scale, to_float32=bool(loader.get('to_float32')))


def color_of(pipeline: list[Mapping], channels: int, *, to_rgb: bool) -> str:
    """What the loader makes of a file's channels."""
    color_type = loader_of(pipeline).get('color_type', 'color')
    if color_type == 'color' and channels == 3:
        return 'rgb' if to_rgb else 'bgr'
    if color_type == 'grayscale' and channels == 1:
        return 'gray'
    if color_type == 'unchanged' and (channels != 3 or to_rgb):
        return 'unchanged'
    raise Inexpressible('its channels')


def resizing_of(pipeline: list[Mapping]) -> dict:
    """Arguments of ``Preprocessing`` for the steps between loading and packing.

    Raises:
        Inexpressible: other steps than its own.
    """
    steps = [step for step in pipeline if kind(step) not in (*LOADERS, 'PackInputs')]
    kinds = [kind(step) for step in steps]
    resize = steps[0] if steps else {}
    how = dict(  # mmcv's defaults
        interpolation=resize.get('interpolation', 'bilinear'), backend=resize.get('backend', 'cv2')
    )
    if kinds == ['Resize'] and set(resize) <= {'type', 'scale', 'keep_ratio', 'interpolation', 'backend'}:
        scale = resize.get('scale')
        if scale and not resize.get('keep_ratio'):
            return dict(size=side_of(scale), resize=None, **how)
    if kinds[:1] == ['ResizeEdge'] and kinds[1:] in [[name] for name in CROPS]:
        crop = steps[1]
        if resize.get('edge', 'short') == 'short' and set(crop) == {'type', 'crop_size'}:
            size = side_of(crop['crop_size'])
            return dict(size=size, resize=resize['scale'], crop=CROPS[kinds[1]], **how)
    raise Inexpressible(f'the steps {", ".join(kinds) or "none"}')


def side_of(size: int | tuple[int, int]) -> int | tuple[int, int]:
    """A side, or (height, width), from mmcv's side or (width, height)."""
    if isinstance(size, int):
        return size
    width, height = size
    return width if width == height else (height, width)


def kind(step: Mapping) -> str:
    """The name of a step's class."""
    name = step['type'] if isinstance(step['type'], str) else step['type'].__name__
    return name.rpartition('.')[2]
