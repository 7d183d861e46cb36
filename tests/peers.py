"""Independent implementations with random weights, and the mapping of their parameter names to ours."""

import re

import torch
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
)

from mmconvnext.models import ConvNeXt, LinearClsHead

TIMM = [
    (r'stem\.(\d)', r'backbone.downsample_layers.0.\1'),
    (r'stages\.(\d)\.downsample\.(\d)', r'backbone.downsample_layers.\1.\2'),
    (r'stages\.(\d)\.blocks\.(\d+)\.(gamma|norm)', r'backbone.stages.\1.\2.\3'),
    (r'stages\.(\d)\.blocks\.(\d+)\.conv_dw', r'backbone.stages.\1.\2.depthwise_conv'),
    (r'stages\.(\d)\.blocks\.(\d+)\.mlp\.fc(\d)', r'backbone.stages.\1.\2.pointwise_conv\3'),
    (r'stages\.(\d)\.blocks\.(\d+)\.mlp\.grn\.weight', r'backbone.stages.\1.\2.grn.gamma'),
    (r'stages\.(\d)\.blocks\.(\d+)\.mlp\.grn\.bias', r'backbone.stages.\1.\2.grn.beta'),
    (r'head\.norm', 'backbone.norm3'),
    (r'head\.fc', 'head.fc'),
]
TORCHVISION = [
    (r'features\.([0246])\.(\d)', lambda m: f'backbone.downsample_layers.{int(m[1]) // 2}.{m[2]}'),
    (
        r'features\.([1357])\.(\d+)\.block\.(\d)',
        lambda m: (
            f'backbone.stages.{int(m[1]) // 2}.{m[2]}.'
            + {'0': 'depthwise_conv', '2': 'norm', '3': 'pointwise_conv1', '5': 'pointwise_conv2'}[m[3]]
        ),
    ),
    (r'features\.([1357])\.(\d+)\.layer_scale', lambda m: f'backbone.stages.{int(m[1]) // 2}.{m[2]}.gamma'),
    (r'classifier\.0', 'backbone.norm3'),
    (r'classifier\.2', 'head.fc'),
]
TRANSFORMERS = [
    (r'convnext(?:v2)?\.embeddings\.patch_embeddings', 'backbone.downsample_layers.0.0'),
    (r'convnext(?:v2)?\.embeddings\.layernorm', 'backbone.downsample_layers.0.1'),
    (
        r'convnext(?:v2)?\.encoder\.stages\.(\d)\.downsampling_layer\.(\d)',
        r'backbone.downsample_layers.\1.\2',
    ),
    (
        r'convnext(?:v2)?\.encoder\.stages\.(\d)\.layers\.(\d+)\.(\w+)(?:\.(weight|bias))?',
        lambda m: (
            f'backbone.stages.{m[1]}.{m[2]}.'
            + {
                'dwconv': 'depthwise_conv',
                'layernorm': 'norm',
                'pwconv1': 'pointwise_conv1',
                'pwconv2': 'pointwise_conv2',
                'layer_scale_parameter': 'gamma',
                'grn': f'grn.{dict(weight="gamma", bias="beta").get(m[4])}',
                'act': 'act',
            }[m[3]]
            + (f'.{m[4]}' if m[4] and m[3] != 'grn' else '')
        ),
    ),
    (r'convnext(?:v2)?\.layernorm', 'backbone.norm3'),
    (r'classifier', 'head.fc'),
]


def timm_peer(depths, channels, **kwargs) -> nn.Module:
    return randomize(TimmConvNeXt(depths=depths, dims=channels, num_classes=10, **kwargs))


def torchvision_peer(depths, channels) -> nn.Module:
    following = (*channels[1:], None)
    blocks = [CNBlockConfig(c, n, d) for c, n, d in zip(channels, following, depths, strict=True)]
    return randomize(TorchvisionConvNeXt(blocks, num_classes=10))


def transformers_peer(depths, channels, v2=False, **kwargs) -> nn.Module:
    config_type = ConvNextV2Config if v2 else ConvNextConfig
    model_type = ConvNextV2ForImageClassification if v2 else ConvNextForImageClassification
    config = config_type(
        depths=list(depths),
        hidden_sizes=list(channels),
        num_labels=10,
        layer_norm_eps=1e-6,  # of the final norm; the weights were not trained with the default of 1e-12
        **kwargs,
    )
    return randomize(model_type(config))


def randomize(model: nn.Module) -> nn.Module:
    """Return weights with which every parameter affects the output, including layer scale and GRN."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter[0].numel() > 1 and parameter.shape[0] > 1:
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
            else:
                parameter.uniform_(0.2, 1.0)
    return model


class Ours(nn.Module):
    """Our backbone and head: images (N, 3, H, W) to logits (N, classes)."""

    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = ConvNeXt(**kwargs)
        self.head = LinearClsHead(10, self.backbone.channels[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def in_our_names(tensors: dict[str, Tensor], rules: list, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename each tensor by the rule that matches its prefix, and reshape it."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            new_name, count = re.subn(f'^{pattern}', replacement, name)
            if count:
                break
        else:
            raise KeyError(f'no rule for {name}')
        renamed[new_name] = tensor.reshape(like[new_name].shape)
    return renamed


class Official(nn.Module):
    """The networks of the official repositories with their parameter names (models/convnext*.py)."""

    def __init__(self, depths, channels, v2=False, num_classes=10):
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), Norm(channels[0]))]
        )
        for i, o in zip(channels, channels[1:], strict=False):
            self.downsample_layers.append(nn.Sequential(Norm(i), nn.Conv2d(i, o, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(OfficialBlock(c, v2) for _ in range(d)))
            for d, c in zip(depths, channels, strict=True)
        )
        self.norm = nn.LayerNorm(channels[-1], eps=1e-6)
        self.head = nn.Linear(channels[-1], num_classes)

    def features(self, x: Tensor) -> Tensor:
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.features(x).mean((-2, -1))))


class OfficialIsotropic(nn.Module):
    def __init__(self, depth, channels, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 16, 16)
        self.blocks = nn.ModuleList(OfficialBlock(channels, v2=False, scale=False) for _ in range(depth))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x.mean((-2, -1))))


class OfficialBlock(nn.Module):
    def __init__(self, channels, v2, scale=True):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.grn = OfficialGRN(4 * channels) if v2 else nn.Identity()
        self.gamma = nn.Parameter(torch.ones(channels)) if scale and not v2 else 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))
        y = self.gamma * self.pwconv2(self.grn(nn.functional.gelu(y)))
        return x + y.permute(0, 3, 1, 2)


class OfficialGRN(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        energy = x.pow(2).sum((1, 2), keepdim=True).sqrt()
        return x + self.gamma * x * energy / (energy.mean(-1, keepdim=True) + 1e-6) + self.beta


class Norm(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def sparse_layout(dense: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return official V2 weights in the layout of MinkowskiEngine, which FCMAE uses."""
    sparse = {}
    for name, weight in dense.items():
        layer, _, kind = name.rpartition('.')
        if name.startswith(('norm.', 'head.')):
            continue
        stem = name.startswith('downsample_layers.0')
        if weight.ndim == 4 and kind == 'weight' and not stem:
            rows, columns = weight.shape[2:]
            # Kernel positions are numbered in column-major order.
            places = [weight[:, :, r, c] for c in range(columns) for r in range(rows)]
            depthwise = 'dwconv' in name
            sparse[f'{layer}.kernel'] = torch.stack([p[:, 0] if depthwise else p.T for p in places])
        elif 'grn' in name:
            sparse[name] = weight.flatten(0, 2)
        elif kind == 'bias' and (
            layer.endswith('dwconv') or (layer.startswith('downsample') and layer.endswith('.1') and not stem)
        ):
            sparse[name] = weight[None]
        elif 'pwconv' in name:
            sparse[f'{layer}.linear.{kind}'] = weight
        elif not stem:
            sparse[f'{layer}.ln.{kind}'] = weight
        else:
            sparse[name] = weight
    return sparse
