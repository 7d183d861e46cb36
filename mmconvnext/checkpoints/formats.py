"""Parameter names of ConvNeXt in other libraries: one table per format, used in both directions."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import UserError
from .renaming import BLOCK, DOWNSAMPLE, GRN, SAME, Layout, Renamed, Rule, Table, to_ours, to_theirs
from .tensorflow import KERAS, TENSORFLOW

# Layouts of torchvision's layer scale (C, 1, 1), and of Minkowski's biases and GRN (1, C).
SCALE = Layout(lambda x: x.flatten(), lambda x: x.view(-1, 1, 1))
ROW = Layout(lambda x: x.flatten(), lambda x: x.view(1, -1))
# Our layers may be 1x1 convolutions (linear_pw_conv=False); formats that only have linear layers get those.
LINEAR = Layout(lambda x: x, lambda x: x.flatten(1) if x.ndim > 1 else x)
# The sparse convolutions of FCMAE flatten the positions of a kernel column by column: (positions, in, out),
# or (positions, channels) if depthwise. See remap_checkpoint_keys in utils.py of the official V2 code.
SPARSE_CONV = Layout(
    lambda x: x.unflatten(0, (side(x), side(x))).permute(3, 2, 1, 0).contiguous(),
    lambda x: x.permute(3, 2, 1, 0).flatten(0, 1).contiguous(),
)
SPARSE_DEPTHWISE = Layout(
    lambda x: x.unflatten(0, (side(x), side(x))).permute(2, 1, 0).unsqueeze(1).contiguous(),
    lambda x: x.squeeze(1).permute(2, 1, 0).flatten(0, 1).contiguous(),
)


def side(kernel: Tensor) -> int:
    """Return the side of a square kernel whose positions are the first dimension."""
    return round(kernel.shape[0] ** 0.5)


class Format(NamedTuple):
    """Tables of one format; a file has the first format that knows all its names.

    Attributes:
        tables: one table, or several if names differ between networks.
        key: key of the weights in a file; None if the file contains only weights.
        tolerates: deviations from the published network (see ``Network.deviations``) that its code supports;
            None for all.
        biasless: our layers that have no bias in this format; the bias is zero.
        export: whether our weights can be written in this format.
    """

    tables: tuple[Table, ...]
    key: str | None = None
    tolerates: tuple[str, ...] | None = ()
    biasless: tuple[str, ...] = ()
    export: bool = True

    def read(self, weights: dict[str, Tensor]) -> Renamed:
        """Rename weights of this format to our names, with the table that knows most of them."""
        read = min((to_ours(weights, table) for table in self.tables), key=lambda r: len(r.unknown))
        for layer in self.biasless:
            if f'{layer}.weight' in read.weights:
                read.weights.setdefault(f'{layer}.bias', torch.zeros(len(read.weights[f'{layer}.weight'])))
        return read

    def write(self, weights: dict[str, Tensor]) -> Renamed:
        """Rename our weights to this format, with the table that knows most of them."""
        return min((to_theirs(weights, table) for table in self.tables), key=lambda r: len(r.unknown))


def block(
    theirs: str, depthwise: str, norm: str, linear1: str, linear2: str, layout: Layout = LINEAR
) -> Table:
    """Return the rules for a block."""
    return (
        Rule(f'{BLOCK}.depthwise_conv.{{p}}', f'{theirs}.{depthwise}.{{p}}'),
        Rule(f'{BLOCK}.norm.{{p}}', f'{theirs}.{norm}.{{p}}'),
        Rule(f'{BLOCK}.pointwise_conv1.{{p}}', f'{theirs}.{linear1}.{{p}}', layout),
        Rule(f'{BLOCK}.pointwise_conv2.{{p}}', f'{theirs}.{linear2}.{{p}}', layout),
    )


def scale(theirs: str, gamma: str = 'gamma', layout: Layout = SAME) -> Table:
    """Return the rule for the layer scale of V1."""
    return (Rule(f'{BLOCK}.gamma', f'{theirs}.{gamma}', layout),)


def grn(theirs: str, gamma: str = 'grn.gamma', beta: str = 'grn.beta', layout: Layout = GRN) -> Table:
    """Return the rules for GRN of V2."""
    return (
        Rule(f'{BLOCK}.grn.gamma', f'{theirs}.{gamma}', layout),
        Rule(f'{BLOCK}.grn.beta', f'{theirs}.{beta}', layout),
    )


def ends(norm: str, head: str) -> Table:
    """Return the rules for the final norm and the classifier."""
    return Rule('backbone.norm{last}.{p}', f'{norm}.{{p}}'), Rule('head.fc.{p}', f'{head}.{{p}}')


def passed_on(*modules: str) -> Table:
    """Return rules for parts of a detector or segmenter that keep their names."""
    return tuple(Rule(f'{module}.{{rest}}', f'{module}.{{rest}}') for module in modules)


def left_out(*names: str) -> Table:
    return tuple(Rule(None, name) for name in names)


DOWNSTREAM_HEADS = passed_on(
    *('neck', 'rpn_head', 'roi_head', 'bbox_head', 'mask_head', 'decode_head', 'auxiliary_head')
)

OFFICIAL_BODY = (
    Rule(f'{DOWNSAMPLE}.{{i}}.{{j}}.{{p}}', 'downsample_layers.{i}.{j}.{p}'),
    *block('stages.{i}.{j}', 'dwconv', 'norm', 'pwconv1', 'pwconv2'),
    *scale('stages.{i}.{j}'),
    *grn('stages.{i}.{j}'),
)
OFFICIAL = (*OFFICIAL_BODY, *ends('norm', 'head'))

# Isotropic networks have a single stage and no norm in the stem.
ISOTROPIC = (
    Rule(f'{DOWNSAMPLE}.0.0.{{p}}', 'stem.{p}'),
    *(
        rule._replace(ours=rule.ours.replace('{i}', '0'))
        for rule in (*block('blocks.{j}', 'dwconv', 'norm', 'pwconv1', 'pwconv2'), *scale('blocks.{j}'))
    ),
    *ends('norm', 'head'),
)

FCMAE = (
    Rule(f'{DOWNSAMPLE}.0.{{j}}.{{p}}', 'encoder.downsample_layers.0.{j}.{p}'),
    Rule(f'{DOWNSAMPLE}.{{i}}.0.{{p}}', 'encoder.downsample_layers.{i}.0.ln.{p}'),
    Rule(f'{DOWNSAMPLE}.{{i}}.1.weight', 'encoder.downsample_layers.{i}.1.kernel', SPARSE_CONV),
    Rule(f'{DOWNSAMPLE}.{{i}}.1.bias', 'encoder.downsample_layers.{i}.1.bias', ROW),
    Rule(f'{BLOCK}.depthwise_conv.weight', 'encoder.stages.{i}.{j}.dwconv.kernel', SPARSE_DEPTHWISE),
    Rule(f'{BLOCK}.depthwise_conv.bias', 'encoder.stages.{i}.{j}.dwconv.bias', ROW),
    *block('encoder.stages.{i}.{j}', '-', 'norm.ln', 'pwconv1.linear', 'pwconv2.linear')[1:],
    *grn('encoder.stages.{i}.{j}', layout=ROW),
    *left_out('mask_token', 'proj.{rest}', 'decoder.{rest}', 'pred.{rest}'),
)

# Detectors and segmenters of the official repository, made with mmdet 2.x and mmseg 0.x.
OFFICIAL_DOWNSTREAM = (
    *(rule._replace(theirs=f'backbone.{rule.theirs}') for rule in OFFICIAL_BODY),
    Rule('backbone.norm{i}.{p}', 'backbone.norm{i}.{p}'),
    *DOWNSTREAM_HEADS,
)

OPENMMLAB_BODY = (
    Rule(f'{DOWNSAMPLE}.{{i}}.{{j}}.{{p}}', f'{DOWNSAMPLE}.{{i}}.{{j}}.{{p}}'),
    *block(BLOCK, 'depthwise_conv', 'norm', 'pointwise_conv1', 'pointwise_conv2', SAME),
    *scale(BLOCK),
    *grn(BLOCK, layout=SAME),
    # mmcv's averaged weights, and the mean and std of the images.
    *left_out('ema_{rest}', 'data_preprocessor.{rest}'),
)
OPENMMLAB_BACKBONE = (*OPENMMLAB_BODY, Rule('backbone.norm{i}.{p}', 'backbone.norm{i}.{p}'))
OPENMMLAB = (
    *OPENMMLAB_BACKBONE,
    Rule('head.fc.{p}', 'head.fc.{p}'),
    Rule('head.layers.{i}.fc.{p}', 'head.layers.{i}.fc.{p}'),
)
OPENMMLAB_DOWNSTREAM = (*OPENMMLAB_BACKBONE, *DOWNSTREAM_HEADS)
# ``model.backbone.state_dict()``
OPENMMLAB_BARE = tuple(
    rule._replace(theirs=rule.theirs.removeprefix('backbone.')) for rule in OPENMMLAB_BACKBONE if rule.ours
)
# Checkpoints of our pre-training. They come before detectors, which have a neck, too.
MASKED_AUTOENCODER = (
    *OPENMMLAB_BACKBONE,
    *left_out('neck.mask_token', 'neck.proj.{p}', 'neck.decoder.{rest}', 'neck.pred.{p}'),
    *left_out('neck.mask_tokens.{i}', 'neck.norms.{rest}', 'neck.projections.{rest}'),
)
# mmpretrain's SparK: its decoder, and the norms before it, are not part of the network.
SPARK = (
    Rule('backbone.norm{last}.{p}', 'backbone.norm{last}.{p}'),
    *OPENMMLAB_BODY,
    *left_out('backbone.norm{i}.{p}', 'neck.{rest}', 'mask_tokens.{rest}'),
    *left_out('enc_dec_norms.{rest}', 'enc_dec_projectors.{rest}'),
)

TIMM_BODY = (
    Rule(f'{DOWNSAMPLE}.0.{{j}}.{{p}}', 'stem.{j}.{p}'),
    Rule(f'{DOWNSAMPLE}.{{i}}.{{j}}.{{p}}', 'stages.{i}.downsample.{j}.{p}'),
    *block('stages.{i}.blocks.{j}', 'conv_dw', 'norm', 'mlp.fc1', 'mlp.fc2', SAME),
    *scale('stages.{i}.blocks.{j}'),
    *grn('stages.{i}.blocks.{j}', 'mlp.grn.weight', 'mlp.grn.bias', SAME),
)
TIMM = (*TIMM_BODY, *ends('head.norm', 'head.fc'))
# Networks with a hidden layer in the head (large_mlp), or with the norm before pooling (tiny_hnf).
TIMM_MLP = (
    *TIMM_BODY,
    Rule('backbone.norm{last}.{p}', 'head.norm.{p}'),
    Rule('head.layers.0.fc.{p}', 'head.pre_logits.fc.{p}'),
    Rule('head.layers.1.fc.{p}', 'head.fc.{p}'),
)
TIMM_NORM_FIRST = (*TIMM_BODY, *ends('norm_pre', 'head.fc'))

# CLIP's image encoder, whose projection has no bias.
TEXT_TOWER = left_out(
    *(
        'transformer.{rest}',
        'text.{rest}',
        'token_embedding.{rest}',
        'ln_final.{rest}',
        'positional_embedding',
    ),
    *('text_projection', 'logit_scale', 'logit_bias', 'attn_mask'),
)
OPEN_CLIP_BODY = (
    *(rule._replace(theirs=f'visual.trunk.{rule.theirs}') for rule in TIMM_BODY),
    Rule('backbone.norm{last}.{p}', 'visual.trunk.head.norm.{p}'),
    *TEXT_TOWER,
)
OPEN_CLIP = (*OPEN_CLIP_BODY, Rule('head.fc.{p}', 'visual.head.proj.{p}'))
OPEN_CLIP_MLP = (
    *OPEN_CLIP_BODY,
    Rule('head.layers.0.fc.{p}', 'visual.head.mlp.fc1.{p}'),
    Rule('head.layers.1.fc.{p}', 'visual.head.mlp.fc2.{p}'),
)

TORCHVISION = (
    Rule(f'{DOWNSAMPLE}.{{i}}.{{j}}.{{p}}', 'features.{2i}.{j}.{p}'),
    *block('features.{2i+1}.{j}', 'block.0', 'block.2', 'block.3', 'block.5'),
    *scale('features.{2i+1}.{j}', 'layer_scale', SCALE),
    *ends('classifier.0', 'classifier.2'),
)


def transformers_table(prefix: str, variable: Table) -> Table:
    """Return the rules for a model of transformers; ``variable`` has those that differ between V1 and V2."""
    layer = f'{prefix}encoder.stages.{{i}}.layers.{{j}}'
    return (
        Rule(f'{DOWNSAMPLE}.0.0.{{p}}', f'{prefix}embeddings.patch_embeddings.{{p}}'),
        Rule(f'{DOWNSAMPLE}.0.1.{{p}}', f'{prefix}embeddings.layernorm.{{p}}'),
        Rule(
            f'{DOWNSAMPLE}.{{i}}.{{j}}.{{p}}', f'{prefix}encoder.stages.{{i}}.downsampling_layer.{{j}}.{{p}}'
        ),
        *block(layer, 'dwconv', 'layernorm', 'pwconv1', 'pwconv2'),
        *(rule._replace(theirs=f'{layer}.{rule.theirs}') for rule in variable),
        *ends(f'{prefix}layernorm', 'classifier'),
    )


TRANSFORMERS_SCALE = (Rule(f'{BLOCK}.gamma', 'layer_scale_parameter'),)
TRANSFORMERS_GRN = (
    Rule(f'{BLOCK}.grn.gamma', 'grn.weight', GRN),
    Rule(f'{BLOCK}.grn.beta', 'grn.bias', GRN),
)


def dinov3_table(prefix: str) -> Table:
    layer = f'{prefix}stages.{{i}}.layers.{{j}}'
    return (
        Rule(f'{DOWNSAMPLE}.{{i}}.{{j}}.{{p}}', f'{prefix}stages.{{i}}.downsample_layers.{{j}}.{{p}}'),
        *block(layer, 'depthwise_conv', 'layer_norm', 'pointwise_conv1', 'pointwise_conv2'),
        *scale(layer),
        Rule('backbone.norm{last}.{p}', 'layer_norm.{p}'),
    )


# transformers' directories often state an eps of 1e-12 for the last norm of weights that were trained with
# 1e-6; the difference is far below rounding.
LAST_EPS = ('out_norm_cfg',)

# Formats that are directories with a config.json.
DIRECTORIES = {'transformers', 'transformers-dinov3', 'tensorflow'}

# Formats in the order in which they are tried for a file.
FORMATS = {
    'openmmlab': Format(
        (OPENMMLAB, MASKED_AUTOENCODER, OPENMMLAB_DOWNSTREAM, SPARK, OPENMMLAB_BARE),
        key='state_dict',
        tolerates=None,
    ),
    'official': Format((OFFICIAL,), key='model', tolerates=LAST_EPS),
    'official-isotropic': Format((ISOTROPIC,), key='model', tolerates=('stem_norm',)),
    'official-fcmae': Format((FCMAE,), key='model'),
    'official-downstream': Format(
        (OFFICIAL_DOWNSTREAM,), key='state_dict', tolerates=('gap_before_final_norm',)
    ),
    'timm': Format((TIMM, TIMM_MLP), tolerates=None),
    'timm-norm-first': Format((TIMM_NORM_FIRST,), tolerates=None),
    'open_clip': Format(
        (OPEN_CLIP, OPEN_CLIP_MLP), biasless=('head.fc', 'head.layers.1.fc'), tolerates=None, export=False
    ),
    'torchvision': Format((TORCHVISION,), tolerates=LAST_EPS),
    'transformers': Format(
        (
            transformers_table('convnext.', TRANSFORMERS_SCALE),
            transformers_table('convnextv2.', TRANSFORMERS_GRN),
            transformers_table('', (*TRANSFORMERS_SCALE, *TRANSFORMERS_GRN)),
        ),
        tolerates=('act_cfg', 'out_norm_cfg'),
    ),
    'transformers-dinov3': Format(
        (dinov3_table('model.'), dinov3_table('')), tolerates=('act_cfg', 'norm_cfg', 'out_norm_cfg')
    ),
    'tensorflow': Format(TENSORFLOW, tolerates=('act_cfg', 'out_norm_cfg')),
    'keras': Format(KERAS, tolerates=LAST_EPS),
}


def find_format(name: str) -> Format:
    if name not in FORMATS:
        raise UserError(f'format {name!r} is unknown; choose from {", ".join(FORMATS)}')
    return FORMATS[name]


@cache
def stems() -> tuple[str, ...]:
    """Return the names of the first convolution's weight in all tables."""
    ours = {f'{DOWNSAMPLE}.0.0.weight': torch.empty(1, 1, 1, 1, device='meta')}
    tables = (table for form in FORMATS.values() for table in form.tables)
    return tuple(sorted({name for table in tables for name in to_theirs(ours, table).weights}))
