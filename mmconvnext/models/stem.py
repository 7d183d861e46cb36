"""The convolutions that turn an image into the first map."""

from torch import nn

from .activations import build_activation


def build_stem(
    stem_type: str, in_channels: int, channels: int, patch_size: int, bias: bool, act_cfg: dict | str
) -> nn.Sequential:
    """The convolutions in front of the first norm."""
    if stem_type == 'patch':
        if patch_size < 1:
            raise ValueError(f'stem_patch_size is {patch_size}; it needs a positive number of pixels')
        return nn.Sequential(nn.Conv2d(in_channels, channels, patch_size, stride=patch_size, bias=bias))
    if stem_type not in ('overlap', 'overlap_tiered', 'overlap_act'):
        raise ValueError(
            f'stem_type is {stem_type!r}; choose from patch, overlap, overlap_tiered, overlap_act'
        )
    middle = half_in_eights(channels) if stem_type == 'overlap_tiered' else channels
    stem = nn.Sequential(nn.Conv2d(in_channels, middle, 3, stride=2, padding=1, bias=bias))
    if stem_type == 'overlap_act':
        stem.append(build_activation(act_cfg))
    return stem.append(nn.Conv2d(middle, channels, 3, stride=2, padding=1, bias=bias))


def half_in_eights(channels: int) -> int:
    """Half of ``channels`` rounded to a multiple of 8, at least 8 and nine tenths of the half.

    timm's ``make_divisible``, as the tiered stems were trained with it.
    """
    half = channels // 2
    rounded = max(8, (half + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * half else rounded + 8
