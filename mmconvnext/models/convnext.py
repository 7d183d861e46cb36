"""The network: ConvNeXt V1 (arXiv:2201.03545), its isotropic form and V2 (arXiv:2301.00808).

Parameter names are those of mmpretrain's ConvNeXt, so its checkpoints load unchanged.
"""

import inspect
from collections.abc import Sequence
from functools import partial
from itertools import islice

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..errors import UserError
from ..ops.backend import channels_last
from ..registry import MODELS
from .block import build_activation, build_norm
from .fitting import check_loaded, check_pretrained
from .fusion import FusedConvNeXtBlock
from .inference import InferenceConvNeXt
from .layer_depth import layer_depth
from .masking import VisiblePatches
from .network import resolve_arch

INIT_CFG = [
    dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0),
    dict(type='Constant', layer=['LayerNorm'], val=1.0, bias=0.0),
]


class SmallImageError(UserError):
    """An image is smaller than the stride of the network."""


@MODELS.register_module()
class ConvNeXt(BaseModule):
    """ConvNeXt V1, isotropic and V2; for V2 pass ``use_grn=True, layer_scale_init_value=0``.

    Args:
        arch: a name from ``ARCHS``, or a dict with ``depths`` and ``channels`` (one entry per stage,
            any number of stages) and optionally ``stem_patch_size``, ``stem_norm``, ``norm_cfg``.
        in_channels: channels of the image.
        stem_patch_size: size and stride of the patches in pixels; None: that of the arch, usually 4.
        norm_cfg: ``dict(type=..., eps=...)`` with type LN2d, RMSNorm2d or SimpleNorm2d;
            None: that of the arch, usually LN2d with eps 1e-6.
        out_norm_cfg: the same for the norms after the stages in ``out_indices``; None: ``norm_cfg``.
            transformers uses ``layer_norm_eps`` of its config only for these norms.
        act_cfg: a name from ``block.ACTIVATIONS`` or a registry dict as ``dict(type='GELU')``.
        linear_pw_conv: whether pointwise convolutions are linear layers, or else 1x1 convolutions.
        use_grn: whether blocks have GRN (V2).
        drop_path_rate: stochastic depth rate of the last block, increasing linearly from 0 at the first.
        layer_scale_init_value: initial value of the layer scale; 0 for no layer scale.
        out_indices: stages whose features are returned, counted from the end if negative.
        frozen_stages: number of stages, from the first and with their downsampling, that are not trained.
        gap_before_final_norm: whether to return pooled features (N, C), normalized after the pooling, as the
            classification weights expect; False returns normalized maps (N, C, H, W).
        with_cp: whether to recompute block activations in the backward pass, which saves memory.
        stem_type: ``patch``; or two 3x3 convolutions of stride 2 (timm's ``_ols`` weights):
            ``overlap``, ``overlap_tiered`` (the first with half the channels) or ``overlap_act``
            (an activation between them). The overlapping ones ignore ``stem_patch_size``.
        kernel_size: odd kernel size of the depthwise convolutions; one number, or one per stage.
        mlp_ratio: ratio of hidden to outer channels of the MLPs.
        conv_bias: whether stem, downsampling and depthwise convolutions have biases.
        output_stride: maximum stride, 8, 16 or 32: later stages dilate instead; None: no limit.
        init_cfg: weight initialization; the default is the official one. Pretrained weights:
            ``dict(type='Pretrained', checkpoint='mmconvnext://NAME', prefix='backbone.')`` with a name
            of the zoo, a file or a URL.

    Raises:
        ValueError: an argument has none of the values listed here.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        stem_patch_size: int | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | str = 'gelu',
        linear_pw_conv: bool = True,
        use_grn: bool = False,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = 0,
        gap_before_final_norm: bool = True,
        with_cp: bool = False,
        stem_type: str = 'patch',
        kernel_size: int | Sequence[int] = 7,
        mlp_ratio: float = 4.0,
        conv_bias: bool = True,
        output_stride: int | None = None,
        out_norm_cfg: dict | None = None,
        init_cfg: dict | list | None = INIT_CFG,
    ):
        super().__init__(init_cfg=init_cfg)
        arch = resolve_arch(arch)
        self.depths, self.channels = arch['depths'], arch['channels']
        self.out_indices = resolve_out_indices(out_indices, len(self.depths))
        self.frozen_stages = frozen_stages
        self.gap_before_final_norm = gap_before_final_norm
        patch_size = arch['stem_patch_size'] if stem_patch_size is None else stem_patch_size
        norm_cfg = arch['norm_cfg'] if norm_cfg is None else norm_cfg
        out_norm_cfg = norm_cfg if out_norm_cfg is None else out_norm_cfg
        kernel_sizes = resolve_kernel_sizes(kernel_size, len(self.depths))
        check_ranges(drop_path_rate, mlp_ratio, frozen_stages, len(self.depths))
        drop_path_rates = iter(torch.linspace(0, drop_path_rate, sum(self.depths), device='cpu').tolist())
        block = partial(
            FusedConvNeXtBlock,
            mlp_ratio=mlp_ratio,
            conv_bias=conv_bias,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            linear_pw_conv=linear_pw_conv,
            use_grn=use_grn,
            layer_scale_init_value=layer_scale_init_value,
            with_cp=with_cp,
        )

        # Stage i consists of downsample_layers[i] (the first is the stem) and stages[i].
        stem = build_stem(stem_type, in_channels, self.channels[0], patch_size, conv_bias, act_cfg)
        if arch['stem_norm']:
            stem.append(build_norm(norm_cfg, self.channels[0]))
        self.downsample_layers = nn.ModuleList([stem])
        self.stages = nn.ModuleList()
        strides = StridePlan(patch_size if stem_type == 'patch' else 4, output_stride)
        stages = zip(self.depths, self.channels, kernel_sizes, strict=True)
        for i, (depth, channels, size) in enumerate(stages):
            if i > 0:
                stride, dilation = strides.downsample()
                self.downsample_layers.append(
                    build_downsampling(self.channels[i - 1], channels, stride, dilation, norm_cfg, conv_bias)
                )
            rates = islice(drop_path_rates, depth)
            settings = dict(kernel_size=size, dilation=strides.dilation)
            self.stages.append(
                nn.Sequential(*(block(channels, drop_path_rate=rate, **settings) for rate in rates))
            )
            if i in self.out_indices:
                self.add_module(f'norm{i}', build_norm(out_norm_cfg, channels))
        # The overlapping stem pads and rounds up, so 3 pixels less give the same map.
        self.min_input_size = strides.total - (0 if stem_type == 'patch' else 3)
        # Stem and downsampling do not overlap; without depthwise convolutions, patches would be independent.
        self.keeps_to_patches = stem_type == 'patch' and strides.dilation == 1
        self._freeze_stages()
        self.register_load_state_dict_pre_hook(check_loaded)

    def init_weights(self) -> None:
        """Initialize the weights as ``init_cfg`` says.

        Raises:
            UserError: the pretrained weights belong to another architecture.
        """
        check = self.register_load_state_dict_pre_hook(check_pretrained)
        try:
            super().init_weights()
        finally:
            check.remove()

    def forward(self, x: Tensor, visible: VisiblePatches | None = None) -> tuple[Tensor, ...]:
        """Compute the features of the stages in ``out_indices``, in the order of the stages.

        Args:
            x: (N, in_channels, H, W), normalized; H and W at least ``min_input_size``.
            visible: the visible patches of masked images, for ``visible_states`` instead.

        Returns:
            A tuple with (N, C) for each if ``gap_before_final_norm``, else (N, C, H / stride, W / stride);
            the patch stem and the downsampling round down.
        """
        if visible is not None:
            return self.visible_states(x, visible)
        maps = self._maps(x, {i + 1 for i in self.out_indices})
        return tuple(self.output(i, maps[i + 1]) for i in sorted(self.out_indices))

    def hidden_states(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of the stem and of every stage, before any final norm.

        Args:
            x: as in ``forward``.

        Returns:
            A tuple with (N, C, H / stride, W / stride) for each, as ``hidden_states`` in transformers.
        """
        return tuple(self._maps(x, set(range(len(self.depths) + 1))).values())

    def visible_states(self, x: Tensor, visible: VisiblePatches) -> tuple[Tensor, ...]:
        """Compute the maps of every stage at the visible patches of masked images, before any final norm.

        Masked pixels have no influence: depthwise convolutions see zeros there, and GRN counts visible
        positions only. With nothing masked, the values are those of ``hidden_states``.

        Args:
            x: as in ``forward``; masked pixels are not read.
            visible: the visible patches; their side in pixels must be a multiple of the network's stride.

        Returns:
            A tuple with (N, C, K * size, size) for each: the K visible patches below each other, whose size
            in a map is that in the image divided by the stride, see ``VisiblePatches``.

        Raises:
            UserError: the patches do not fit the image or the network.
        """
        if not self.keeps_to_patches:
            raise UserError(
                "masked images need a network with stem_type='patch' and without output_stride: stem and "
                'downsampling must not reach beyond a patch'
            )
        visible.check_image(*x.shape[2:], self.min_input_size)
        wanted = set(range(1, len(self.depths) + 1))
        if visible.is_everything:  # faster, and the same to the last bit as without a mask
            return tuple(visible.gather(map) for map in self._maps(x, wanted).values())
        return tuple(self._maps(visible.gather(x), wanted, visible).values())

    def _maps(self, x: Tensor, wanted: set[int], visible: VisiblePatches | None = None) -> dict[int, Tensor]:
        """Compute the requested maps: 0 is that of the stem, i + 1 that of stage i. Other maps are freed."""
        if min(x.shape[2:]) < self.min_input_size:
            raise SmallImageError(
                f'the image is {x.shape[2]} x {x.shape[3]} pixels; this ConvNeXt needs at least '
                f'{self.min_input_size} in both directions: resize the image or lower stem_patch_size'
            )
        x = channels_last(x)
        maps = {}
        for i, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = downsample(x)
            if i == 0 and 0 in wanted:
                maps[0] = x
            if visible is None:
                x = stage(x)
            else:
                for block in stage:
                    x = block(x, visible)
            if i + 1 in wanted:
                maps[i + 1] = x
        return maps

    def optimize_for_inference(self, dtype: torch.dtype = torch.float32) -> InferenceConvNeXt:
        """Return a faster copy for inference: ``model.backbone = model.backbone.optimize_for_inference()``.

        Scales and shifts are folded into the linear layers, and on a CPU, oneDNN computes the MLP in parts
        that stay in the cache. The copy is on the device of the backbone and cannot be moved.

        Args:
            dtype: dtype of the computation: float32, or bfloat16 if the processor supports it.
        """
        return InferenceConvNeXt(self, dtype)

    def output(self, stage: int, x: Tensor) -> Tensor:
        """Return what ``forward`` returns for the map x (N, C, H, W) of a stage in ``out_indices``."""
        norm = getattr(self, f'norm{stage}')
        if self.gap_before_final_norm:
            # Norm after pooling: the released classification weights expect it.
            return norm.normalize(x.mean(dim=(2, 3)))
        return norm(x)

    def train(self, mode: bool = True) -> 'ConvNeXt':
        super().train(mode)
        self._freeze_stages()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '', scheme: str = 'group') -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning rate decay, see ``layer_depth``.

        Args:
            param_name: full name of the parameter.
            prefix: prefix of the backbone's parameters, for example ``backbone.``; other names belong to
                later modules and get the last depth.
            scheme: group, single or stage.

        Returns:
            Depth from 0 and the number of depths; the factor is decay ** (number - 1 - depth).
        """
        name = param_name.removeprefix(prefix) if param_name.startswith(prefix) else 'later module'
        return layer_depth(name, self.depths, scheme)

    def _freeze_stages(self) -> None:
        for i in range(self.frozen_stages):
            for module in (self.downsample_layers[i], self.stages[i]):
                module.eval()
                module.requires_grad_(False)


def build_stem(
    stem_type: str, in_channels: int, channels: int, patch_size: int, bias: bool, act_cfg: dict | str
) -> nn.Sequential:
    """The convolutions that turn an image into the first map, in front of its norm."""
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


class StridePlan:
    """Strides and dilations of the stages for a maximum output stride, as in timm's ConvNeXt.

    Args:
        total: stride of the stem; then of the stages so far.
        limit: 8, 16, 32 or None for no limit.

    Attributes:
        dilation: dilation of the blocks in the current stage.
    """

    def __init__(self, total: int, limit: int | None):
        if limit not in (None, 8, 16, 32):
            raise ValueError(f'output_stride is {limit}; choose from 8, 16, 32 or None')
        if limit is not None and limit < total:
            raise ValueError(f'output_stride is {limit}, but the stem alone has stride {total}')
        self.total, self.limit, self.dilation = total, limit, 1

    def downsample(self) -> tuple[int, int]:
        """Go to the next stage; return stride and dilation of the convolution before it."""
        if self.limit is None or self.total < self.limit:
            self.total *= 2
            return 2, 1
        self.dilation *= 2
        return 1, self.dilation // 2


def resolve_out_indices(out_indices: int | Sequence[int], num_stages: int) -> tuple[int, ...]:
    """Return the stage numbers counted from 0."""
    indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    if not all(-num_stages <= index < num_stages for index in indices):
        raise ValueError(f'out_indices is {out_indices}; the network has {num_stages} stages, counted from 0')
    return tuple(index % num_stages for index in indices)


def check_ranges(drop_path_rate: float, mlp_ratio: float, frozen_stages: int, num_stages: int) -> None:
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate is {drop_path_rate}; a probability from 0 to below 1 is needed')
    if mlp_ratio <= 0:
        raise ValueError(f'mlp_ratio is {mlp_ratio}; a number above 0 is needed')
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(f'frozen_stages is {frozen_stages}; the network has {num_stages} stages')


def build_downsampling(
    in_channels: int, out_channels: int, stride: int, dilation: int, norm_cfg: dict, bias: bool
) -> nn.Sequential:
    """Build norm and 2x2 convolution between two stages."""
    padding = 'same' if stride == 1 else 0
    return nn.Sequential(
        build_norm(norm_cfg, in_channels),
        nn.Conv2d(in_channels, out_channels, 2, stride, padding, dilation, bias=bias),
    )


def resolve_kernel_sizes(kernel_size: int | Sequence[int], num_stages: int) -> tuple[int, ...]:
    """Return one odd kernel size per stage."""
    sizes = (kernel_size,) * num_stages if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(sizes) != num_stages or not all(size > 0 and size % 2 == 1 for size in sizes):
        raise ValueError(f'kernel_size is {kernel_size}; it needs one odd number, or {num_stages} of them')
    return sizes


# Default arguments of a backbone in configs and descriptions.
DEFAULTS = {name: p.default for name, p in inspect.signature(ConvNeXt).parameters.items()}
