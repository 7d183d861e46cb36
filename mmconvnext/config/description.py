"""Describe network and preprocessing of a config for its checkpoints."""

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite

from mmengine.config import Config

from ..checkpoints.descriptions import read_fields
from ..checkpoints.training_description import MAX_REASON, PREPROCESSING, Description
from ..errors import UserError
from ..images.preprocessing import Preprocessing
from ..models.block import ACTIVATIONS
from ..models.convnext import DEFAULTS
from ..models.network import resolve_arch
from .inner_datasets import inner_settings
from .pipeline_steps import LOADERS, kind, loader_of, reading_of
from .unaugmented import unaugmented_pipeline

# Registered name of an activation -> our name, with default arguments.
REGISTERED_ACTIVATIONS = {
    **{'GELU': 'gelu', 'ReLU': 'relu', 'ReLU6': 'relu6', 'SiLU': 'silu', 'Swish': 'swish', 'Mish': 'mish'},
    **{'Sigmoid': 'sigmoid', 'Tanh': 'tanh', 'PReLU': 'prelu', 'LeakyReLU': 'leaky_relu'},
}

SOFTMAX_HEADS = ('LinearClsHead', 'mmpretrain.LinearClsHead')

SIGMOID_HEADS = ('MultiLabelLinearClsHead', 'mmpretrain.MultiLabelLinearClsHead')

MASKED_AUTOENCODERS = ('FCMAE', 'SparK')

CROPS = {'CenterCrop': 'round', 'FloorCenterCrop': 'floor'}


class Inexpressible(ValueError):
    """A config has a network or preprocessing that a description cannot express."""


def describe_training(cfg: Config) -> Description | None:
    """Return the description for checkpoints of a training.

    It is None unless our backbone is in a classifier or a masked autoencoder.
    """
    model = cfg['model']
    backbone = model.get('backbone') or {}
    pretraining = kind(model) in MASKED_AUTOENCODERS
    if not (pretraining or kind(model) == 'ImageClassifier') or backbone.get('type') not in (
        'mmconvnext.ConvNeXt',
        'ConvNeXt',
    ):
        return None
    try:
        preprocessing = preprocessing_of_test(cfg, pipeline_of_features(cfg) if pretraining else None)
    except Inexpressible:
        preprocessing = None
    try:
        unseen, head = describe_backbone(backbone), {} if pretraining else describe_head(model)
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
    # torch's defaults; that of RMSNorm depends on the dtype.
    default = 1e-5 if norm['type'] == 'LN2d' else None
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


def pipeline_of_test(cfg: Mapping) -> list[Mapping]:
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    return inner_settings(loader.get('dataset') or {})[0].get('pipeline') or []


def pipeline_of_features(cfg: Config) -> list[Mapping]:
    """Return the steps of a pre-training that prepare images for their features.

    Raises:
        Inexpressible: there is no training pipeline.
    """
    try:
        return [step for step in unaugmented_pipeline(cfg) if kind(step) != 'MaskPatches']
    except UserError as error:
        raise Inexpressible('its training pipeline') from error


def preprocessing_of_test(cfg: Mapping, pipeline: list[Mapping] | None = None) -> Preprocessing:
    """Return the preprocessing in the test pipeline and the data_preprocessor of a config.

    Args:
        cfg: config of a classifier.
        pipeline: pipeline to use instead of that of the config.

    Raises:
        Inexpressible: ``Preprocessing`` cannot express it.
    """
    pipeline = pipeline_of_test(cfg) if pipeline is None else pipeline
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
    except UserError as error:  # it could not be read back
        raise Inexpressible(str(error)) from error
    return preprocessing


def color_of(pipeline: list[Mapping], channels: int, *, to_rgb: bool) -> str:
    """Return ``color`` of ``Preprocessing`` for a loader."""
    color_type = loader_of(pipeline).get('color_type', 'color')
    if color_type == 'color' and channels == 3:
        return 'rgb' if to_rgb else 'bgr'
    if color_type == 'grayscale' and channels == 1:
        return 'gray'
    if color_type == 'unchanged' and (channels != 3 or to_rgb):
        return 'unchanged'
    raise Inexpressible('its channels')


def resizing_of(pipeline: list[Mapping]) -> dict:
    """Return the arguments of ``Preprocessing`` for the steps between loading and packing.

    Raises:
        Inexpressible: there are other steps.
    """
    steps = [step for step in pipeline if kind(step) not in (*LOADERS, 'PackInputs') and not only_flips(step)]
    kinds = [kind(step) for step in steps]
    resize = steps[0] if steps else {}
    how = dict(  # defaults of mmcv
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


def only_flips(step: Mapping) -> bool:
    """Return whether a step is test-time augmentation that only flips images."""
    if kind(step) != 'TestTimeAug':
        return False
    branches = [branch for choices in step['transforms'] for branch in choices]
    inner = [each for branch in branches for each in (branch if isinstance(branch, list) else [branch])]
    return {kind(each) for each in inner} <= {'RandomFlip', 'PackInputs'}


def side_of(size: int | tuple[int, int]) -> int | tuple[int, int]:
    """Convert mmcv's size, a side or (width, height), to a side or (height, width)."""
    if isinstance(size, int):
        return size
    width, height = size
    return width if width == height else (height, width)
