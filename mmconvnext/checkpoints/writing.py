"""Write weights in a format; a file appears whole or not at all."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from ..files import check_place, written_whole
from ..images.preprocessing import Preprocessing
from ..models.convnext import DEFAULTS, resolve_kernel_sizes
from ..models.fitting import network_of
from ..models.network import ARCHS, LAYER_NORM, Network, resolve_arch
from ..text import listed
from .formats import DIRECTORIES, find_format
from .reading import Weights
from .tensorflow import write_h5
from .training_description import BACKBONE, Description
from .transformers_directory import config_of_network, config_of_preprocessing

TORCH_SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')
SUFFIXES = dict.fromkeys(DIRECTORIES, ('',)) | {'keras': ('.h5',)}
# timm's networks of these sizes have 1x1 convolutions for linear layers (timm/models/convnext.py, conv_mlp).
TIMM_CONVOLUTIONS = ('zepto', 'atto', 'femto', 'pico', 'nano')


def check_target(target: Path, target_format: str) -> None:
    """Raise before the long reading if the target could not be written."""
    if not find_format(target_format).export:
        raise UserError(
            f'the format {target_format} can be read but not written: half of its model is not ours'
        )
    check_place(target)
    suffixes = SUFFIXES.get(target_format, TORCH_SUFFIXES)
    if target.suffix not in suffixes:
        expected = ' or '.join(suffixes) if suffixes != ('',) else 'none, since it is a directory'
        raise UserError(
            f'{target} ends in {target.suffix!r}; for {target_format} the ending should be {expected}'
        )


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
    first = not network.backbone.get('gap_before_final_norm', True)
    if target_format.startswith('timm') and first != (target_format == 'timm-norm-first'):
        raise UserError(
            f'the last norm of {loaded.source} stands {"before" if first else "behind"} the pooling; '
            f'write it as {"timm-norm-first" if first else "timm"}'
        )
    if loaded.needs_config and target_format != 'openmmlab':
        raise UserError(
            f'{loaded.source} has {loaded.needs_config}, for which {target_format} has no words; write it '
            'as openmmlab'
        )
    found = deviations(network)
    if form.tolerates is not None:
        foreign = [finding for key, finding in found.items() if key not in form.tolerates]
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
            torch.save({'meta': meta_of(loaded), 'state_dict': tensors}, part)
        else:
            torch.save({form.key: tensors} if form.key else tensors, part)


def deviations(network: Network) -> dict[str, str]:
    """Return what sets a network apart from the published code: argument -> finding."""
    backbone = {**DEFAULTS, **network.backbone}
    arch = resolve_arch(backbone['arch'])
    norm = backbone['norm_cfg'] or arch['norm_cfg']
    last_norm = backbone['out_norm_cfg'] or norm
    kernel_sizes = set(resolve_kernel_sizes(backbone['kernel_size'], len(arch['depths'])))
    wanted = dict(
        stem_type=(backbone['stem_type'], 'patch'),
        stem_norm=(arch['stem_norm'], True),
        kernel_size=(kernel_sizes, {7}),
        mlp_ratio=(backbone['mlp_ratio'], 4.0),
        conv_bias=(backbone['conv_bias'], True),
        act_cfg=(backbone['act_cfg'], 'gelu'),
        gap_before_final_norm=(backbone['gap_before_final_norm'], True),
        output_stride=(backbone['output_stride'], None),
        norm_cfg=(norm, LAYER_NORM),
        out_norm_cfg=(last_norm, LAYER_NORM),
        hidden_channels=((network.head or {}).get('hidden_channels'), None),
    )
    return {key: f'{key} is {found!r}' for key, (found, expected) in wanted.items() if found != expected}


def meta_of(loaded: Weights) -> dict:
    """Class names where mmengine has them, and what weights do not show of their network."""
    meta = {'dataset_meta': {'classes': loaded.classes}} if loaded.classes else {}
    if loaded.network or loaded.preprocessing:
        backbone, head = loaded.network or ({}, None)
        description = Description(
            {key: backbone[key] for key in BACKBONE if key in backbone},
            {'kind': head['kind']} if head and 'kind' in head else {},
            loaded.preprocessing,
            loaded.needs_config,
        )
        meta['mmconvnext'] = description.to_meta()
    return meta


def is_convolutional_in_timm(network: Network, target_format: str) -> bool:
    arch = resolve_arch(network.backbone['arch'])
    sizes = [(ARCHS[name]['depths'], ARCHS[name]['channels']) for name in TIMM_CONVOLUTIONS]
    return target_format == 'timm-norm-first' or (arch['depths'], arch['channels']) in sizes


def is_linear(name: str, weight: Tensor) -> bool:
    return '.pointwise_conv' in name and weight.ndim == 2


def save_directory(
    directory: Path, tensors: dict[str, Tensor], network: Network, loaded: Weights, target_format: str
) -> None:
    """Write what transformers' ``save_pretrained`` writes for a model and its image processor."""
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
