"""TensorFlow weights in .h5 files of transformers and keras.applications, read with h5py only.

Three layouts are supported. transformers and Keras 2 have one group per layer and one dataset per weight,
which repeats the name of the layer; Keras 3 (.weights.h5) numbers layers and weights, and stores the names of
layers as attributes. Flat names omit what depends on the name of the model:

    convnext/tf_conv_next_model/convnext/layernorm/gamma:0          -> convnext/layernorm/gamma
    convnext_tiny_stem/convnext_tiny_stem_conv/kernel:0             -> stem_conv/kernel
    layers/sequential/layers/conv2d/vars/0 (convnext_tiny_stem_conv) -> stem_conv/kernel
"""

import re
from collections.abc import Callable, Iterable, Iterator
from math import prod
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..files import check_regular
from ..models.network import ARCHS
from ..text import one_line, shortened
from .renaming import BLOCK, DOWNSAMPLE, GRN, Layout, Rule, Table, fill

MAX_REASON = 200  # characters of HDF5's error message
NORM = 'backbone.norm{last}'


def permuted(*order: int) -> Callable[[Tensor], Tensor]:
    """Return a function that permutes dimensions; ``check_fit`` reports tensors of other ranks."""
    return lambda x: x.permute(order).contiguous() if x.ndim == len(order) else x


CONV = Layout(permuted(3, 2, 0, 1), permuted(2, 3, 1, 0))  # HWIO <-> OIHW, depthwise too, with I = 1
DENSE = Layout(permuted(1, 0), lambda x: permuted(1, 0)(x.flatten(1)))  # our layer may be a 1x1 convolution


def norm(ours: str, theirs: str) -> Table:
    return Rule(f'{ours}.weight', f'{theirs}/gamma'), Rule(f'{ours}.bias', f'{theirs}/beta')


def layer(ours: str, theirs: str, layout: Layout) -> Table:
    return Rule(f'{ours}.weight', f'{theirs}/kernel', layout), Rule(f'{ours}.bias', f'{theirs}/bias')


def block(theirs: str, depthwise: str, norm_name: str, linear1: str, linear2: str) -> Table:
    return (
        *layer(f'{BLOCK}.depthwise_conv', f'{theirs}{depthwise}', CONV),
        *norm(f'{BLOCK}.norm', f'{theirs}{norm_name}'),
        *layer(f'{BLOCK}.pointwise_conv1', f'{theirs}{linear1}', DENSE),
        *layer(f'{BLOCK}.pointwise_conv2', f'{theirs}{linear2}', DENSE),
    )


def transformers_table(model: str, variable: Table) -> Table:
    """Return the rules for a model of transformers; ``variable`` has those that differ between V1 and V2."""
    stage = f'{model}/encoder/stages.{{i}}'
    return (
        *layer(f'{DOWNSAMPLE}.0.0', f'{model}/embeddings/patch_embeddings', CONV),
        *norm(f'{DOWNSAMPLE}.0.1', f'{model}/embeddings/layernorm'),
        *norm(f'{DOWNSAMPLE}.{{i}}.0', f'{stage}/downsampling_layer.0'),
        *layer(f'{DOWNSAMPLE}.{{i}}.1', f'{stage}/downsampling_layer.1', CONV),
        *block(f'{stage}/layers.{{j}}/', 'dwconv', 'layernorm', 'pwconv1', 'pwconv2'),
        *(rule._replace(theirs=f'{stage}/layers.{{j}}/{rule.theirs}') for rule in variable),
        *norm(NORM, f'{model}/layernorm'),
        *layer('head.fc', 'classifier', DENSE),
    )


TENSORFLOW = (
    transformers_table('convnext', (Rule(f'{BLOCK}.gamma', 'layer_scale_parameter'),)),
    transformers_table(
        'convnextv2',
        (Rule(f'{BLOCK}.grn.gamma', 'grn/weight', GRN), Rule(f'{BLOCK}.grn.beta', 'grn/bias', GRN)),
    ),
)

# keras.applications, in the order in which Keras lists weights, because it loads them by position.
KERAS_STEM = (*layer(f'{DOWNSAMPLE}.0.0', 'stem_conv', CONV), *norm(f'{DOWNSAMPLE}.0.1', 'stem_layernorm'))
KERAS_DOWNSAMPLING = (
    *norm(f'{DOWNSAMPLE}.{{i}}.0', 'downsampling_layernorm_{i-1}'),
    *layer(f'{DOWNSAMPLE}.{{i}}.1', 'downsampling_conv_{i-1}', CONV),
)
KERAS_BLOCK = (
    *block('stage_{i}_block_{j}_', 'depthwise_conv', 'layernorm', 'pointwise_conv_1', 'pointwise_conv_2'),
    Rule(f'{BLOCK}.gamma', 'stage_{i}_block_{j}_layer_scale/gamma'),
)
KERAS_TOP = (*norm(NORM, 'head_layernorm'), *layer('head.fc', 'head_dense', DENSE))
KERAS_NO_TOP = norm(NORM, 'layer_normalization')
KERAS_BODY = (
    *KERAS_STEM,
    *KERAS_DOWNSAMPLING,
    *KERAS_BLOCK,
    # For reading only: unnamed, it is Variable in Keras 2 and variable, variable_1, ... in Keras 3.
    Rule(f'{BLOCK}.gamma', 'stage_{i}_block_{j}_layer_scale/{p}'),
)
# In Keras, the mean and variance of the images are constants, not weights.
KERAS = (
    # This table comes first because networks without a head are written with it. Keras numbers unnamed
    # norms in order of creation; any number is read, and none is written.
    (*KERAS_BODY, *KERAS_NO_TOP, *norm(NORM, 'layer_normalization_{p}')),
    (*KERAS_BODY, *KERAS_TOP),
)
KERAS_STAGES = 4
MAX_LINKS = 100_000
MAX_NESTED_GROUPS = 64
MAX_CHUNK = 2**20  # numbers
KERAS_SIZES = ('tiny', 'small', 'base', 'large', 'xlarge')
# Names of the numbered variables in a file of Keras 3.
KERAS_VARIABLES = {
    'conv2d': ('kernel', 'bias'),
    'dense': ('kernel', 'bias'),
    'layer_normalization': ('gamma', 'beta'),
    'layer_scale': ('gamma',),
}


def read_h5(path: str | Path) -> dict[str, Tensor]:
    """Return flat name -> tensor in the layout of the file. Links to other files are not followed.

    Raises:
        UserError: the file is not HDF5, is truncated, has no weights with known names, or references other
            files.
    """
    path = Path(path)
    size = path.stat().st_size
    found = f'{path} ({size:,} bytes)'
    try:
        check_regular(path)
        with h5py.File(path, 'r') as file:
            datasets = datasets_of(file, found)
            declared = sum(dataset.nbytes for dataset in datasets.values())
            # Weights hardly compress; a file of zeros could fill the memory.
            if declared > 10 * size:
                raise UserError(f'{found} was not read: it declares {declared:,} bytes of weights')
            weights = {}
            for name, dataset in zip(flat_names(datasets, found), datasets.values(), strict=True):
                if name in weights:
                    raise UserError(f'{found} contains {name} twice; expected a file with one ConvNeXt')
                native = dataset.dtype.newbyteorder('=')
                weights[name] = torch.from_numpy(np.asarray(dataset[()], dtype=native))
            return weights
    except UserError:
        raise
    except Exception as error:  # h5py and HDF5 raise any exception, including SystemError and MemoryError
        reason = shortened(one_line(error), MAX_REASON)
        raise UserError(
            f'{found} is truncated or not an HDF5 file ({reason}); copy or download it again, or name '
            'another file'
        ) from error


def datasets_of(file, found: str) -> dict:
    """Return path -> dataset for the weights of the model, without those of its optimizer."""
    links = {}

    def note(name: str, link: object) -> bool | None:
        links[name] = link
        return len(links) > MAX_LINKS or name.count('/') > MAX_NESTED_GROUPS or None  # True ends the visit

    if file.visititems_links(note):  # follows none
        raise UserError(f'{found} was not read: its groups are too many or too deeply nested for weights')
    for name, link in links.items():
        if not isinstance(link, h5py.HardLink):
            raise UserError(f'{found} was not read: it contains the link {name}; Keras does not write links')
    datasets = {
        name.removeprefix('model_weights/'): item  # the prefix that model.save adds
        for name in links
        if not name.startswith('optimizer') and isinstance(item := file[name], h5py.Dataset)
    }
    if not datasets:
        raise UserError(f'{found} contains no weights; its groups are {sorted(file)[:10]}')
    for name, dataset in datasets.items():
        if dataset.is_virtual or dataset.external:
            raise UserError(
                f'{found} was not read: its dataset {name} is stored in another file, which Keras does not do'
            )
        if dataset.shape is None or dataset.dtype.kind not in 'fiu' or dataset.dtype.itemsize > 8:
            raise UserError(f'{found} contains {name} of type {dataset.dtype}; expected plain numbers')
        # A chunk is always read as a whole, even if the weight is much smaller.
        if prod(dataset.chunks or ()) > max(dataset.size, MAX_CHUNK):
            raise UserError(f'{found} was not read: its dataset {name} has chunks of shape {dataset.chunks}')
    return datasets


def flat_names(datasets: dict, found: str) -> list[str]:
    paths = [named(path, dataset, found).removesuffix(':0') for path, dataset in datasets.items()]
    if any('/embeddings/patch_embeddings/' in path for path in paths):
        # The first two parts are the layer and the model; the rest is the full name.
        return [path.split('/', 2)[-1] for path in paths]
    stem = next(filter(None, (re.search(r'([^/]+_)stem_conv/', path) for path in paths)), None)
    if stem is None:
        return paths
    # Of nested layers, the innermost has the name.
    return ['/'.join(path.split('/')[-2:]).removeprefix(stem[1]) for path in paths]


def named(path: str, dataset, found: str) -> str:
    """Return the path of a dataset, with the names of Keras 2 instead of the numbers of Keras 3."""
    numbered = re.fullmatch(r'.*?(\w+?)(?:_\d+)?/vars/(\d+)', path)
    if numbered is None:
        return path
    attributes = dataset.parent.attrs
    scalar = 'name' in attributes and attributes.get_id('name').shape == ()
    name = attributes['name'] if scalar else None
    if not isinstance(name, str):
        raise UserError(
            f'{found} numbers its layers without naming them, like .weights.h5 files of Keras before 3.6; '
            "load it into its model, and save that with model.save('NAME.h5')"
        )
    kind, number = numbered[1], int(numbered[2])
    variables = KERAS_VARIABLES.get(kind, ())
    return f'{name}/{variables[number] if number < len(variables) else number}'


def write_h5(path: str | Path, weights: dict[str, Tensor]) -> None:
    """Write a file that the loaders of transformers or Keras accept.

    Args:
        path: file to write: ``tf_model.h5`` beside config.json for transformers; for keras.applications, any
            name that ends in .h5 but not in .weights.h5.
        weights: flat name -> tensor, with the names and layout of ``TENSORFLOW`` or ``KERAS``.

    Raises:
        UserError: the weights are not those of a complete keras.applications.ConvNeXt, or Keras would read
            a file of this name in another format.
    """
    of_transformers = any('/embeddings/patch_embeddings/' in name for name in weights)
    if not of_transformers and str(path).endswith('.weights.h5'):
        raise UserError(
            f'{path}: Keras 3 expects another format in .weights.h5 files; choose a name that ends in .h5 '
            'only'
        )
    layers = transformers_layers(weights) if of_transformers else keras_layers(weights)
    with h5py.File(path, 'w') as file:
        # Keras reads a file without these attributes as one of Keras 1 and converts its weights.
        file.attrs['backend'], file.attrs['keras_version'] = 'tensorflow', '2.10.0'
        file.attrs['layer_names'] = list(layers)
        for name, members in layers.items():
            group = file.create_group(name)
            group.attrs['weight_names'] = list(members)
            for weight_name, tensor in members.items():
                group.create_dataset(weight_name, data=as_array(tensor))


def as_array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16 and no float8; float32 holds them exactly.
    kept = tensor.dtype in (torch.float16, torch.float32, torch.float64)
    return (tensor if kept else tensor.float()).contiguous().numpy()


def transformers_layers(weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return layer -> dataset -> tensor. transformers loads by name, so the order does not matter."""
    layers = {}
    for name, tensor in weights.items():
        layers.setdefault(name.partition('/')[0], {})[name] = tensor
    model = 'tf_conv_next_v2' if 'convnextv2' in layers else 'tf_conv_next'
    model += '_for_image_classification' if 'classifier' in layers else '_model'
    return {
        layer: {f'{model}/{name}:0': tensor for name, tensor in members.items()}
        for layer, members in layers.items()
    }


def keras_layers(weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return layer -> dataset -> tensor in the order of the network, because Keras loads by position."""
    depths = tuple(
        sum(bool(re.fullmatch(rf'stage_{i}_block_\d+_layernorm/gamma', name)) for name in weights)
        for i in range(KERAS_STAGES)
    )
    names = list(keras_names(depths, KERAS_TOP if 'head_dense/kernel' in weights else KERAS_NO_TOP))
    strange = sorted(set(names) ^ set(weights))
    if strange:
        raise UserError(
            "keras.applications only has ConvNeXt V1 with four stages, layer scale and the stem's norm; "
            f'missing or unexpected weights: {", ".join(strange[:3])}{", ..." if strange[3:] else ""}'
        )
    if weights['stem_conv/kernel'].shape[:2] != (4, 4):
        raise UserError(
            f'the stem has a kernel of {tuple(weights["stem_conv/kernel"].shape[:2])}; '
            'keras.applications.ConvNeXt needs (4, 4)'
        )
    channels = tuple(len(weights[f'stage_{i}_block_0_layernorm/gamma']) for i in range(KERAS_STAGES))
    model = keras_model(depths, channels)
    layers = {}
    for name in names:
        full = name if name.startswith('layer_normalization') else f'{model}_{name}'
        # The stem and each downsampling layer are a Sequential of two layers.
        group = re.sub(r'_stem_\w+$', '_stem', full.partition('/')[0])
        group = re.sub(r'_downsampling_\w+_(\d+)$', r'_downsampling_block_\1', group)
        layers.setdefault(group, {})[f'{full}:0'] = weights[name]
    return layers


def keras_names(depths: Iterable[int], ends: Table) -> Iterator[str]:
    """Yield all flat names of a network, in the order of its layers."""
    for i, depth in enumerate(depths):
        yield from (fill(rule.theirs, {'i': i}) for rule in (KERAS_DOWNSAMPLING if i else KERAS_STEM))
        for j in range(depth):
            yield from (fill(rule.theirs, {'i': i, 'j': j}) for rule in KERAS_BLOCK)
    yield from (rule.theirs for rule in ends)


def keras_model(depths: tuple[int, ...], channels: tuple[int, ...]) -> str:
    """Return the name of the model, which is part of the layer names when Keras loads by name."""
    sizes = {(ARCHS[size]['depths'], ARCHS[size]['channels']): size for size in KERAS_SIZES}
    size = sizes.get((depths, channels))
    return f'convnext_{size}' if size else 'convnext'
