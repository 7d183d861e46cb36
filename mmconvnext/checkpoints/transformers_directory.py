"""Directories that transformers saves: config.json, weights and preprocessor_config.json."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from ..images.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from ..models.block import ACTIVATIONS
from ..models.convnext import DEFAULTS, INIT_CFG
from ..models.fitting import MAX_BLOCKS, MAX_STAGES, network_of, title
from ..models.network import Network, resolve_arch
from ..text import counted
from .descriptions import (
    MAX_CHANNELS,
    MAX_CLASSES,
    MAX_INPUT_SIDE,
    Unexpected,
    either,
    fields,
    flag,
    image_size,
    integer,
    labels,
    number,
    one_of,
    optional,
    read_fields,
    read_json,
    several,
    text,
)
from .downloading import MissingFileError, fetch

# Field of their config -> argument of our backbone. ``layer_norm_eps`` is not here: it applies to the last
# norm only, all others have 1e-6 (modeling_convnext.py); in DINOv3, it applies to every norm.
BACKBONE_FIELDS = {
    'num_channels': 'in_channels',
    'hidden_act': 'act_cfg',
    'layer_scale_init_value': 'layer_scale_init_value',
    'drop_path_rate': 'drop_path_rate',
}
WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin', 'tf_model.h5')
MIN_DEEP = 1023  # minimum pixel value of white for images with more than 8 bits per channel
# Interpolations by the number that ``resample`` and PIL use.
RESAMPLING = ('nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming')
MODEL_TYPES = {'convnext': 'ConvNext', 'convnextv2': 'ConvNextV2', 'dinov3_convnext': 'DINOv3ConvNext'}
# Kind of head -> their ``problem_type``.
PROBLEM_TYPES = {
    'softmax': 'single_label_classification',
    'sigmoid': 'multi_label_classification',
    'regression': 'regression',
}

PIXELS = integer(1, MAX_INPUT_SIDE)
SIDE = either(PIXELS, several(PIXELS, 2))
CONFIG = {
    'model_type': one_of(MODEL_TYPES),
    'architectures': optional(several(text(200), 16, 0)),
    'depths': several(integer(1, MAX_BLOCKS), MAX_STAGES),
    'hidden_sizes': several(integer(1, MAX_CHANNELS), MAX_STAGES),
    'patch_size': either(integer(1, 256), several(integer(1, 256), 2)),
    'num_channels': integer(1, MAX_CHANNELS),
    'hidden_act': one_of(ACTIVATIONS),
    'layer_scale_init_value': number(0, 1e6),
    'drop_path_rate': number(0, 0.999),
    'layer_norm_eps': number(0, 1, above=True),
    'initializer_range': number(0, 1e6),
    'image_size': SIDE,
    'id2label': optional(labels),
    'num_labels': integer(1, MAX_CLASSES),
    'problem_type': optional(one_of(PROBLEM_TYPES.values())),
}
SIZES = {key: optional(PIXELS) for key in ('shortest_edge', 'height', 'width')}
SIZE = optional(either(PIXELS, several(PIXELS, 2), fields(SIZES)))
PREPROCESSOR = {
    **dict.fromkeys(('do_resize', 'do_rescale', 'do_normalize', 'do_center_crop'), optional(flag)),
    **dict.fromkeys(('size', 'crop_size'), SIZE),
    'resample': optional(integer(0, len(RESAMPLING) - 1)),
    'crop_pct': optional(number(0.1, 1)),
    'rescale_factor': optional(number(0, 1e6, above=True)),
    'image_mean': optional(several(number(-1e6, 1e6), MAX_CHANNELS)),
    'image_std': optional(several(number(0, 1e6, above=True), MAX_CHANNELS)),
}


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


def described_by_directory(source: str | Path, tensors: dict[str, Tensor]) -> dict:
    """Return the fields of ``Weights`` that config.json and preprocessor_config.json determine.

    Args:
        source: file or URL of the weights, in the same directory.
        tensors: weights with our names.

    Raises:
        UserError: the files contradict each other, or a field has an invalid value.
    """
    config, preprocessor = (beside(source, name) for name in ('config.json', 'preprocessor_config.json'))
    if config is None:
        return {}
    content = read_json(config)
    described, classes = network_of_config(content, str(config)), class_names(content, str(config))
    found = network_of(tensors)
    check_described(described, found, config)
    if classes and found.head and len(classes) != found.head['num_classes']:
        outputs = counted(found.head['num_classes'], 'output')
        raise UserError(f'{config} names {counted(len(classes), "class")} for {outputs}')
    channels = found.backbone.get('in_channels', 3)
    if preprocessor:
        preprocessing = preprocessing_of_config(read_json(preprocessor), str(preprocessor))
    else:
        preprocessing = preprocessing_of_size(content, str(config)).for_channels(channels)
    if preprocessing.channels != channels:
        preprocessing = None
    elif channels != 3:
        preprocessing = replace(preprocessing, color='gray' if channels == 1 else 'unchanged')
    head = found.head and {**(described.head or {}), **found.head}
    network = Network({**found.backbone, **described.backbone}, head)
    return dict(network=network, preprocessing=preprocessing, classes=classes)


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
    """Return the file of this name in the directory or hub repository of the source, if there is one."""
    if str(source).startswith(('http://', 'https://')):
        try:
            return fetch(f'{str(source).rpartition("/")[0]}/{name}')
        except MissingFileError:
            return None
    file = Path(source).with_name(name)
    return file if file.is_file() else None


def network_of_config(config: dict, place: str = 'config.json') -> Network:
    """Return our network for transformers' config.json.

    Args:
        config: content of the file.
        place: name of the file in messages.

    Raises:
        UserError: it is the config of another model, or a field has an invalid value.
    """
    if 'model_type' not in config:
        raise UserError(f'{place} has no model_type; expected one of {", ".join(MODEL_TYPES)}')
    found = read_fields(config, CONFIG, place)
    # Fields that are missing in a saved config have their default value.
    model_type, patch_size = found['model_type'], found.get('patch_size', 4)
    depths, channels = found.get('depths', (3, 3, 9, 3)), found.get('hidden_sizes', (96, 192, 384, 768))
    if len(depths) != len(channels):
        raise UserError(f'{place} has {len(depths)} depths but {len(channels)} hidden_sizes')
    backbone = {
        'arch': dict(depths=depths, channels=channels),
        **{ours: found[theirs] for theirs, ours in BACKBONE_FIELDS.items() if theirs in found},
    }
    if isinstance(patch_size, tuple):
        if len(set(patch_size)) > 1:
            raise UserError(f'{place}: patch_size is {patch_size}; expected a square')
        patch_size = patch_size[0]
    if patch_size != 4:
        backbone['stem_patch_size'] = patch_size
    eps = found.get('layer_norm_eps', 1e-6 if model_type == 'dinov3_convnext' else 1e-12)
    backbone['norm_cfg' if model_type == 'dinov3_convnext' else 'out_norm_cfg'] = dict(type='LN2d', eps=eps)
    if model_type == 'convnextv2':
        backbone |= dict(use_grn=True, layer_scale_init_value=0.0)
    linear, *others = INIT_CFG
    std = found.get('initializer_range', linear['std'])
    if std != linear['std']:
        backbone['init_cfg'] = [{**linear, 'std': std}, *others]
    classifier = any('ForImageClassification' in name for name in found.get('architectures') or ())
    num_classes = len(found.get('id2label') or ()) or found.get('num_labels', 2)
    head = dict(num_classes=num_classes)
    if found.get('problem_type'):
        head['kind'] = next(kind for kind, theirs in PROBLEM_TYPES.items() if theirs == found['problem_type'])
    return Network(backbone, head if classifier else None)


def config_of_network(
    network: Network,
    preprocessing: Preprocessing | None = None,
    classes: tuple[str, ...] | None = None,
    *,
    dinov3: bool = False,
) -> dict:
    """Return transformers' config.json for our network.

    Args:
        network: backbone and head, without deviations that transformers does not support.
        preprocessing: determines ``image_size``.
        classes: names of the outputs.
        dinov3: whether the config is for ``DINOv3ConvNextModel``, which has no classifier and one eps for all
            norms.
    """
    backbone = {**DEFAULTS, **network.backbone}
    arch = resolve_arch(backbone['arch'])
    norm = backbone['norm_cfg'] or arch['norm_cfg']
    last_norm = backbone['out_norm_cfg'] or norm
    model_type = 'dinov3_convnext' if dinov3 else 'convnextv2' if backbone['use_grn'] else 'convnext'
    image_size = preprocessing.size if preprocessing else 224
    config = {
        'architectures': [MODEL_TYPES[model_type] + ('ForImageClassification' if network.head else 'Model')],
        'model_type': model_type,
        'depths': list(arch['depths']),
        'hidden_sizes': list(arch['channels']),
        'patch_size': backbone['stem_patch_size'] or arch['stem_patch_size'],
        'layer_norm_eps': last_norm['eps'],
        'initializer_range': (backbone['init_cfg'] or INIT_CFG)[0]['std'],
        'image_size': image_size,
        **{theirs: backbone[ours] for theirs, ours in BACKBONE_FIELDS.items()},
    }
    if not dinov3:
        config['num_stages'] = len(arch['depths'])
    if model_type == 'convnextv2':
        del config['layer_scale_init_value']
    if network.head:
        names = classes or [f'LABEL_{i}' for i in range(network.head['num_classes'])]
        config['id2label'] = dict(enumerate(names))
        if 'kind' in network.head:
            config['problem_type'] = PROBLEM_TYPES[network.head['kind']]
        # If two classes have the same name, it maps to the first.
        config['label2id'] = {name: i for i, name in reversed(list(enumerate(names)))}
    return config


def preprocessing_of_config(config: dict, place: str = 'preprocessor_config.json') -> Preprocessing:
    """Return the preprocessing that transformers' preprocessor_config.json describes.

    Args:
        config: content of the file.
        place: name of the file in messages.

    Raises:
        UserError: a field has an invalid value, or a step is switched off.
    """
    read = read_fields(config, PREPROCESSOR, place)
    found = {key: value for key, value in read.items() if value is not None}
    off = [step for step in ('do_resize', 'do_rescale', 'do_normalize') if found.get(step) is False]
    if off:
        raise UserError(f'{place} switches off {", ".join(off)}; prepare such images yourself')
    mean, std = found.get('image_mean', (0.5,) * 3), found.get('image_std', (0.5,) * 3)
    if len(mean) != len(std):
        raise UserError(f'{place}: image_mean has {len(mean)} values, but image_std has {len(std)}')
    # transformers computes (value * rescale_factor - mean) / std.
    white = 1 / found.get('rescale_factor', 1 / 255)
    depth = {}
    if white >= MIN_DEEP:
        depth = dict(full_scale=round(white, 6), to_float32=True)
    elif abs(white - 255) > 1e-3:
        mean, std = (tuple(value * white / 255 for value in values) for values in (mean, std))
    common = dict(
        **depth,
        interpolation=RESAMPLING[found.get('resample', 3)],
        mean=tuple(mean),
        std=tuple(std),
        crop='floor',
    )
    short, warped = sides(found.get('size', 224), 'size', place)
    if warped is not None:
        return sized(place, warped, None, common)
    if found.get('do_center_crop'):
        crop_short, crop = sides(found.get('crop_size', 224), 'crop_size', place)
        return sized(place, crop or crop_short, short, common)
    # ConvNextImageProcessor crops images below 384 pixels, and resizes to a square from 384 on.
    resize = int(short / found.get('crop_pct', 224 / 256)) if short < 384 else None
    return sized(place, short, resize, common)


def sized(place: str, size: int | tuple[int, int], resize: int | None, common: dict) -> Preprocessing:
    try:
        image_size(size)
    except Unexpected as expected:
        raise UserError(f'{place}: the input size is {size}; expected {expected}') from None
    longest = size if isinstance(size, int) else max(size)
    if resize is not None and not longest <= resize <= MAX_INPUT_SIDE:
        raise UserError(
            f'{place}: images are resized to {resize} pixels before a crop of {size}; expected '
            f'{longest} to {MAX_INPUT_SIDE} pixels'
        )
    return Preprocessing(size=size, resize=resize, **common)


def sides(
    size: int | tuple | dict, field: str, place: str
) -> tuple[int | None, int | tuple[int, int] | None]:
    """Return (short side, None), or (None, size) with the side of a square or (height, width)."""
    if isinstance(size, int):
        return size, None
    if isinstance(size, dict) and size.get('shortest_edge'):
        return size['shortest_edge'], None
    height, width = size if isinstance(size, tuple) else (size.get('height'), size.get('width'))
    if height is None or width is None or (isinstance(size, tuple) and height != width):
        raise UserError(f'{place}: {field} is {size}; expected shortest_edge, or height and width')
    if isinstance(size, tuple):
        return height, None
    return None, height if height == width else (height, width)


def preprocessing_of_size(config: dict, place: str) -> Preprocessing:
    """Return transformers' default preprocessing for the image size of a config.json."""
    size = read_fields(config, CONFIG, place).get('image_size', 224)
    return preprocessing_of_config(dict(size=size, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD), place)


def config_of_preprocessing(preprocessing: Preprocessing) -> dict:
    """Return a preprocessor_config.json for the image processor of transformers that does the same."""
    size, resize = preprocessing.size, preprocessing.resize
    height, width = (size, size) if isinstance(size, int) else size
    common = dict(
        do_resize=True,
        # Pillow's name for OpenCV's area interpolation is box.
        resample=RESAMPLING.index(preprocessing.interpolation.replace('area', 'box')),
        do_rescale=True,
        rescale_factor=1 / preprocessing.unit,
        do_normalize=True,
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
    )
    if resize is None and (height != width or height < 384):
        return dict(image_processor_type='ViTImageProcessor', size=dict(height=height, width=width), **common)
    if resize is not None and (height != width or height >= 384):
        crop = dict(do_center_crop=True, crop_size=dict(height=height, width=width))
        return dict(
            image_processor_type='CLIPImageProcessor', size=dict(shortest_edge=resize), **crop, **common
        )
    ratios = (size / resize, size / (resize + 0.5)) if resize else (224 / 256,)
    # transformers resizes to int(size / crop_pct), which rounding errors can make one too small.
    crop_pct = next(ratio for ratio in ratios if resize is None or int(size / ratio) == resize)
    return dict(
        image_processor_type='ConvNextImageProcessor',
        size=dict(shortest_edge=size),
        crop_pct=crop_pct,
        **common,
    )


def class_names(config: dict, place: str = 'config.json') -> tuple[str, ...] | None:
    """Return the class names in the order of the outputs; None if they are only numbered."""
    names = read_fields(config, {'id2label': CONFIG['id2label']}, place).get('id2label')
    return None if not names or names[0] == 'LABEL_0' else names
