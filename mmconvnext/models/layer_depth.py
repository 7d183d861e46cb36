"""Layer-wise learning rate decay: which depth does a ConvNeXt parameter have?

The three groupings published with the weights:

==========  ======================================================================================
group       V1 ``optim_factory.py`` and V2 ``group`` (ImageNet), V1 COCO ``layer_wise``:
            stem 0, stage 0 1, stage 1 and its downsampling 2, downsampling before stage 2 3,
            stage 2 in threes of blocks from 3, stage 3 and its downsampling the last
single      V2 ``single``: every block its own depth, counted from 1; 0 stays empty
stage       V1 ADE20K ``stage_wise``: every downsampling 0, stage i i + 1
==========  ======================================================================================

Norms of the outputs and all that follows the backbone come after the last depth.
"""

SCHEMES = ('group', 'single', 'stage')


def layer_depth(name: str, depths: tuple[int, ...], scheme: str) -> tuple[int, int]:
    """Depth of the backbone parameter ``name`` and the number of depths.

    Args:
        name: as ``stages.2.5.gamma``, without a prefix.
        depths: blocks a stage.
        scheme: group, single or stage.

    Raises:
        ValueError: for another scheme, or ``group`` and ``stage`` without four stages.
    """
    if scheme not in SCHEMES:
        raise ValueError(f'layer decay scheme {scheme!r} is unknown; choose from {", ".join(SCHEMES)}')
    if scheme != 'single' and len(depths) != 4:
        raise ValueError(
            f'layer decay scheme {scheme!r} is defined for four stages, this network has '
            f'{len(depths)}; use single'
        )
    part, *numbers = name.split('.')
    stage = int(numbers[0]) if part in ('downsample_layers', 'stages') else None
    block = int(numbers[1]) if part == 'stages' else None

    if scheme == 'single':
        last = sum(depths)
        depth = last + 1 if stage is None else sum(depths[:stage]) + 1 + (block or 0)
        return depth, last + 2

    # 12 layers for the 27 blocks of Small and larger. The official ImageNet recipes group no other size;
    # the COCO and ADE20K configs count 6 for the 9 blocks of Tiny, and so do all shorter networks here.
    last = 12 if depths[2] > 9 else 6
    if stage is None:
        depth = last + 1
    elif scheme == 'stage':
        depth = 0 if block is None else stage + 1
    elif stage == 3:
        depth = last
    elif block is None:
        depth = (0, 2, 3)[stage]
    else:
        # Blocks beyond the published 9 and 27 stay in the last group of three.
        depth = stage + 1 if stage < 2 else min(3 + block // 3, last - 1)
    return depth, last + 2
