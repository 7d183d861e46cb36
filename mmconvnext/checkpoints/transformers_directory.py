"""The directories that transformers saves: config.json, weights, preprocessor_config.json."""

import json
from pathlib import Path

from ..datasets.preprocessing import Preprocessing
from ..errors import UserError
from ..models.archs import resolve_arch
from ..models.convnext import INIT_CFG
from ..models.network import DEFAULTS, Network

# Field of their config -> argument of our backbone. Theirs applies ``layer_norm_eps`` to the last norm
# only, and 1e-6 to all others (modeling_convnext.py); DINOv3's to every norm.
BACKBONE_FIELDS = {
    'num_channels': 'in_channels',
    'hidden_act': 'act_cfg',
    'layer_scale_init_value': 'layer_scale_init_value',
    'drop_path_rate': 'drop_path_rate',
}
WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin', 'tf_model.h5')
# PIL's numbers for the ways to interpolate, as their ``resample``.
RESAMPLING = ('nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming')
MODEL_TYPES = {'convnext': 'ConvNext', 'convnextv2': 'ConvNextV2', 'dinov3_convnext': 'DINOv3ConvNext'}


def network_of_config(config: dict) -> Network:
    """Our network for the fields of their config.json.

    Raises:
        UserError: it is the config of another model, or lacks the sizes.
    """
    model_type = config.get('model_type')
    if model_type not in MODEL_TYPES:
        raise UserError(
            f'config.json is for model_type {model_type!r}; expected one of {", ".join(MODEL_TYPES)}'
        )
    # What they leave out of a saved config has their default.
    depths, channels = config.get('depths', (3, 3, 9, 3)), config.get('hidden_sizes', (96, 192, 384, 768))
    patch_size = config.get('patch_size', 4)
    if isinstance(patch_size, list):
        patch_size = patch_size[0]  # only square ones exist
    backbone = {
        'arch': dict(depths=tuple(depths), channels=tuple(channels)),
        **{ours: config[theirs] for theirs, ours in BACKBONE_FIELDS.items() if theirs in config},
    }
    if patch_size != 4:
        backbone['stem_patch_size'] = patch_size
    eps = config.get('layer_norm_eps', 1e-6 if model_type == 'dinov3_convnext' else 1e-12)
    backbone['norm_cfg' if model_type == 'dinov3_convnext' else 'out_norm_cfg'] = dict(type='LN2d', eps=eps)
    if model_type == 'convnextv2':
        backbone |= dict(use_grn=True, layer_scale_init_value=0.0)
    linear, *others = INIT_CFG
    std = config.get('initializer_range', linear['std'])
    if std != linear['std']:
        backbone['init_cfg'] = [{**linear, 'std': std}, *others]
    classifier = any('ForImageClassification' in name for name in config.get('architectures') or ())
    labels = len(config.get('id2label') or {}) or config.get('num_labels', 2)
    return Network(backbone, dict(num_classes=labels) if classifier else None)


def config_of_network(
    network: Network,
    preprocessing: Preprocessing | None = None,
    classes: tuple[str, ...] | None = None,
    *,
    dinov3: bool = False,
) -> dict:
    """Their config.json for our network.

    Args:
        network: backbone and head, without deviations that theirs cannot have.
        preprocessing: for ``image_size``.
        classes: names of the outputs.
        dinov3: for ``DINOv3ConvNextModel``, which has no classifier and one eps for all norms.
    """
    backbone = {**DEFAULTS, **network.backbone}
    arch = resolve_arch(backbone['arch'])
    norm = backbone['norm_cfg'] or arch['norm_cfg']
    last_norm = backbone['out_norm_cfg'] or norm
    model_type = 'dinov3_convnext' if dinov3 else 'convnextv2' if backbone['use_grn'] else 'convnext'
    config = {
        'architectures': [MODEL_TYPES[model_type] + ('ForImageClassification' if network.head else 'Model')],
        'model_type': model_type,
        'depths': list(arch['depths']),
        'hidden_sizes': list(arch['channels']),
        'patch_size': backbone['stem_patch_size'] or arch['stem_patch_size'],
        'layer_norm_eps': last_norm['eps'],
        'initializer_range': (backbone['init_cfg'] or INIT_CFG)[0]['std'],
        'image_size': preprocessing.size if preprocessing else 224,
        **{theirs: backbone[ours] for theirs, ours in BACKBONE_FIELDS.items()},
    }
    if not dinov3:
        config['num_stages'] = len(arch['depths'])
    if model_type == 'convnextv2':
        del config['layer_scale_init_value']
    if network.head:
        names = classes or [f'LABEL_{i}' for i in range(network.head['num_classes'])]
        config['id2label'] = dict(enumerate(names))
        # Where two classes share a name, the first keeps it.
        config['label2id'] = {name: i for i, name in reversed(list(enumerate(names)))}
    return config


def preprocessing_of_config(config: dict) -> Preprocessing:
    """What their preprocessor_config.json says about resizing, cropping and normalising."""
    off = [step for step in ('do_resize', 'do_rescale', 'do_normalize') if config.get(step) is False]
    if off:
        raise UserError(
            f'preprocessor_config.json switches off {", ".join(off)}; prepare such images yourself'
        )
    size = config.get('size', 224)
    if not isinstance(size, dict):  # one number, or height and width of a square
        size = dict(shortest_edge=size[0] if isinstance(size, list) else size)
    common = dict(
        interpolation=RESAMPLING[config.get('resample', 3)],
        mean=tuple(config.get('image_mean', (0.5,) * 3)),
        std=tuple(config.get('image_std', (0.5,) * 3)),
        crop='floor',
    )
    if 'shortest_edge' not in size:
        return Preprocessing(size=size['height'], resize=None, **common)
    short = size['shortest_edge']
    if config.get('do_center_crop'):
        crop = config['crop_size']
        return Preprocessing(crop['height'] if isinstance(crop, dict) else crop, resize=short, **common)
    # ConvNextImageProcessor: crops below 384 pixels, warps from there on.
    resize = int(short / config.get('crop_pct', 224 / 256)) if short < 384 else None
    return Preprocessing(size=short, resize=resize, **common)


def config_of_preprocessing(preprocessing: Preprocessing) -> dict:
    """Their preprocessor_config.json, for the processor of theirs that does the same."""
    size, resize = preprocessing.size, preprocessing.resize
    common = dict(
        do_resize=True,
        resample=RESAMPLING.index(preprocessing.interpolation),
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
    )
    if resize is None and size < 384:
        return dict(image_processor_type='ViTImageProcessor', size=dict(height=size, width=size), **common)
    if resize is not None and size >= 384:
        crop = dict(do_center_crop=True, crop_size=dict(height=size, width=size))
        return dict(
            image_processor_type='CLIPImageProcessor', size=dict(shortest_edge=resize), **crop, **common
        )
    ratios = (size / resize, size / (resize + 0.5)) if resize else (224 / 256,)
    # They resize to int(size / crop_pct), which may fall one short of the integer meant.
    crop_pct = next(ratio for ratio in ratios if resize is None or int(size / ratio) == resize)
    return dict(
        image_processor_type='ConvNextImageProcessor',
        size=dict(shortest_edge=size),
        crop_pct=crop_pct,
        **common,
    )


def read_json(file: Path) -> dict:
    """The fields of a JSON file.

    Raises:
        UserError: it cannot be read or holds no object.
    """
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'{file} cannot be read as JSON: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{file} holds a {type(content).__name__}; expected an object with fields')
    return content


def class_names(config: dict) -> tuple[str, ...] | None:
    """In the order of the outputs; None where they are only numbered."""
    labels = dict(config.get('id2label') or {})
    names = tuple(labels[key] for key in sorted(labels, key=int))
    return None if not names or names[0] == 'LABEL_0' else names
