"""Layer ids compared with the official repositories, where scale = decay ** (last - id)."""

import pytest

from mmconvnext.models.layer_depth import layer_depth

BASE, TINY = (3, 3, 27, 3), (3, 3, 9, 3)


def depths(scheme, sizes, names):
    return [layer_depth(name, sizes, scheme)[0] for name in names]


PARTS = [
    'downsample_layers.0.0.weight',
    'stages.0.2.gamma',
    'downsample_layers.1.1.bias',
    'stages.1.0.norm.weight',
    'downsample_layers.2.1.weight',
    'stages.2.0.gamma',
    'stages.2.8.gamma',
    'downsample_layers.3.0.weight',
    'stages.3.1.gamma',
    'norm0.weight',
    'norm3.weight',
    'head.fc.weight',
]


@pytest.mark.parametrize(
    ('scheme', 'sizes', 'expected', 'count'),
    [
        ('group', BASE, [0, 1, 2, 2, 3, 3, 5, 12, 12, 13, 13, 13], 14),
        ('group', TINY, [0, 1, 2, 2, 3, 3, 5, 6, 6, 7, 7, 7], 8),
        ('single', TINY, [1, 3, 4, 4, 7, 7, 15, 16, 17, 19, 19, 19], 20),
        ('stage', BASE, [0, 1, 0, 2, 0, 3, 3, 0, 4, 13, 13, 13], 14),
        ('stage', TINY, [0, 1, 0, 2, 0, 3, 3, 0, 4, 7, 7, 7], 8),
    ],
    ids=['ImageNet and COCO', 'COCO Tiny', 'V2 single', 'ADE20K', 'ADE20K Tiny'],
)
def test_depths_of_every_part(scheme, sizes, expected, count):
    assert depths(scheme, sizes, PARTS) == expected
    assert layer_depth(PARTS[0], sizes, scheme)[1] == count


def test_last_block_of_the_long_stage_is_in_the_last_group_before_stage_3():
    assert depths('group', BASE, ['stages.2.26.gamma', 'stages.2.24.gamma']) == [11, 11]


@pytest.mark.parametrize(
    ('decay', 'scheme', 'sizes', 'scales'),
    [
        (0.8, 'group', BASE, {0: 0.054976, 12: 0.8, 13: 1.0}),
        (0.7, 'group', BASE, {0: 0.009689, 12: 0.7, 13: 1.0}),
        (0.9, 'stage', BASE, {0: 0.25419, 1: 0.28243, 2: 0.31381, 3: 0.34868, 4: 0.38742}),
        (0.9, 'stage', TINY, {0: 0.4783, 1: 0.53144, 2: 0.59049, 3: 0.6561, 4: 0.729}),
    ],
)
def test_scales_are_the_published_ones(decay, scheme, sizes, scales):
    for name in PARTS:
        depth, count = layer_depth(name, sizes, scheme)
        if depth in scales:
            assert decay ** (count - 1 - depth) == pytest.approx(scales[depth], rel=1e-4)


def test_longer_networks_never_reach_the_depth_of_the_last_stage():
    assert depths('group', (3, 4, 30, 3), ['stages.2.27.gamma', 'stages.2.29.gamma', 'stages.3.0.gamma']) == [
        11,
        11,
        12,
    ]


def test_isotropic_networks_have_single_depths_only():
    assert depths('single', (18,), ['downsample_layers.0.0.weight', 'stages.0.17.gamma', 'norm0.bias']) == [
        1,
        18,
        19,
    ]
    with pytest.raises(ValueError, match='four stages'):
        layer_depth('norm0.bias', (18,), 'group')


def test_unknown_scheme_is_an_error():
    with pytest.raises(ValueError, match='choose from group, single, stage'):
        layer_depth('norm3.bias', BASE, 'layer_wise')
