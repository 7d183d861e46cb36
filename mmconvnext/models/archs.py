"""The sizes of the named networks."""

LAYER_NORM = dict(type='LN2d', eps=1e-6)

# depths and channels of each stage, and the stem and norm where they are not the usual
# (4x4 patches, a norm after the stem, LayerNorm with eps 1e-6).
ARCHS = {
    # timm's convnext_zepto_rms
    'zepto': dict(
        depths=(2, 2, 4, 2), channels=(32, 64, 128, 256), norm_cfg=dict(type='SimpleNorm2d', eps=1e-6)
    ),
    'atto': dict(depths=(2, 2, 6, 2), channels=(40, 80, 160, 320)),
    'femto': dict(depths=(2, 2, 6, 2), channels=(48, 96, 192, 384)),
    'pico': dict(depths=(2, 2, 6, 2), channels=(64, 128, 256, 512)),
    'nano': dict(depths=(2, 2, 8, 2), channels=(80, 160, 320, 640)),
    'tiny': dict(depths=(3, 3, 9, 3), channels=(96, 192, 384, 768)),
    'small': dict(depths=(3, 3, 27, 3), channels=(96, 192, 384, 768)),
    'base': dict(depths=(3, 3, 27, 3), channels=(128, 256, 512, 1024)),
    'large': dict(depths=(3, 3, 27, 3), channels=(192, 384, 768, 1536)),
    'xlarge': dict(depths=(3, 3, 27, 3), channels=(256, 512, 1024, 2048)),
    'huge': dict(depths=(3, 3, 27, 3), channels=(352, 704, 1408, 2816)),
    # timm's convnext_xxlarge
    'xxlarge': dict(
        depths=(3, 4, 30, 3), channels=(384, 768, 1536, 3072), norm_cfg=dict(type='LN2d', eps=1e-5)
    ),
    # V1 paper, section 3.3; official models/convnext_isotropic.py
    'isotropic-small': dict(depths=(18,), channels=(384,), stem_patch_size=16, stem_norm=False),
    'isotropic-base': dict(depths=(18,), channels=(768,), stem_patch_size=16, stem_norm=False),
    'isotropic-large': dict(depths=(36,), channels=(1024,), stem_patch_size=16, stem_norm=False),
}


def resolve_arch(arch: str | dict) -> dict:
    """A full entry in the form of ``ARCHS``: every key present, sizes as tuples."""
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(
                f'arch {arch!r} is unknown; choose from {", ".join(ARCHS)}, '
                'or pass a dict with depths and channels'
            )
        arch = ARCHS[arch]
    defaults = dict(stem_patch_size=4, stem_norm=True, norm_cfg=LAYER_NORM)
    known = {'depths', 'channels', *defaults}
    if not {'depths', 'channels'} <= set(arch) <= known:
        raise ValueError(
            f'arch has the keys {sorted(arch)}; it needs depths and channels, and may have {defaults}'
        )
    depths, channels = tuple(arch['depths']), tuple(arch['channels'])
    if len(depths) != len(channels) or not depths or min(depths + channels) < 1:
        raise ValueError(
            f'arch has depths {depths} and channels {channels}; it needs one positive number of each a stage'
        )
    return {**defaults, **arch, 'depths': depths, 'channels': channels}
