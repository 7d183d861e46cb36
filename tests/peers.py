"""Independent implementations with random weights, and our names for their parameters."""

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
        layer_norm_eps=1e-6,  # of the final norm; the default 1e-12 is not what the weights had
        **kwargs,
    )
    return randomize(model_type(config))


def randomize(model: nn.Module) -> nn.Module:
    """Weights that let every parameter matter, layer scale and GRN too."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter[0].numel() > 1 and parameter.shape[0] > 1:
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
            else:
                parameter.uniform_(0.2, 1.0)
    return model


class Ours(nn.Module):
    """Backbone and head, from image to logits."""

    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = ConvNeXt(**kwargs)
        self.head = LinearClsHead(10, self.backbone.channels[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def in_our_names(tensors: dict[str, Tensor], rules: list, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename each tensor by the rule that matches its start, and reshape it to ours."""
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
