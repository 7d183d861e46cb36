"""Networks of the published checkpoints, with the names that their sources use."""

V2 = dict(use_grn=True, layer_scale_init_value=0.0)
# timm's networks up to nano and tiny_hnf use 1x1 convolutions instead of linear layers, with the same result.
# Arguments are from timm/models/convnext.py.
EPS = dict(norm_cfg=dict(type='LN2d', eps=1e-5))
TANH = dict(act_cfg='gelu_pytorch_tanh')

# Name -> arguments of the backbone.
ARCHITECTURES = {
    **{f'convnext_{arch}': dict(arch=arch) for arch in ('atto', 'femto', 'pico', 'nano', 'tiny', 'small')},
    **{f'convnext_{arch}': dict(arch=arch) for arch in ('base', 'large', 'xlarge', 'xxlarge')},
    'convnext_isotropic_small': dict(arch='isotropic-small', layer_scale_init_value=0.0),
    'convnext_isotropic_base': dict(arch='isotropic-base', layer_scale_init_value=0.0),
    'convnext_isotropic_large': dict(arch='isotropic-large'),
    'convnext_zepto_rms': dict(arch='zepto'),
    'convnext_zepto_rms_ols': dict(arch='zepto', stem_type='overlap_act'),
    'convnext_atto_ols': dict(arch='atto', stem_type='overlap_tiered'),
    'convnext_femto_ols': dict(arch='femto', stem_type='overlap_tiered'),
    'convnext_pico_ols': dict(arch='pico', stem_type='overlap_tiered'),
    'convnext_nano_ols': dict(arch='nano', stem_type='overlap'),
    'convnext_tiny_hnf': dict(arch='tiny', gap_before_final_norm=False),
    'convnext_large_mlp': dict(arch='large'),
    'test_convnext': dict(arch=dict(depths=(1, 2, 4, 2), channels=(24, 32, 48, 64)), **EPS, **TANH),
    'test_convnext2': dict(arch=dict(depths=(1, 1, 1, 1), channels=(32, 64, 96, 128)), **EPS, **TANH),
    'test_convnext3': dict(
        arch=dict(depths=(1, 1, 1, 1), channels=(32, 64, 96, 128)),
        kernel_size=(7, 5, 5, 3),
        act_cfg='silu',
        **EPS,
    ),
    **{
        f'convnextv2_{arch}': dict(arch=arch, **V2)
        for arch in ('atto', 'femto', 'pico', 'nano', 'tiny', 'base', 'large', 'huge')
    },
}

# Width of the hidden layer in the head, for networks that have one.
HIDDEN_CHANNELS = {'convnext_large_mlp': 1536}
