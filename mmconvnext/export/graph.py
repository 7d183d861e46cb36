"""What an exported file computes, from images to outputs."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..errors import UserError
from ..models.convnext import ConvNeXtBlock
from ..models.folding import fold
from ..models.linear_head import scores_of


class Graph(nn.Module):
    """A classifier as a plain function of one tensor.

    Args:
        model: mmpretrain's ``ImageClassifier``, which is left as it is; without a head, the features of
            its last stage come out.
        preprocess: take (N, H, W, 3) RGB of uint8 and normalise it; else (N, 3, H, W), normalised.
        softmax: give probabilities, else what the head gives.

    Raises:
        UserError: there are no classes that probabilities could be of.
    """

    def __init__(self, model: nn.Module, *, preprocess: bool = False, softmax: bool = False):
        super().__init__()
        head = getattr(model, 'head', None)
        if softmax and (
            not isinstance(head, ClsHead | MultiLabelClsHead) or getattr(head, 'regression', False)
        ):
            raise UserError(
                f'--softmax makes probabilities of classes, but the model has '
                f'{f"the head {type(head).__name__}" if head else "no head"}; leave it out'
            )
        prepare = model.data_preprocessor
        self.model = deepcopy(model).eval().requires_grad_(False)
        for block in self.model.modules():
            if type(block) is ConvNeXtBlock:
                fold(block)
        self.preprocess, self.softmax = preprocess, softmax
        self.to_rgb = prepare.to_rgb
        normalised = getattr(prepare, 'mean', None) is not None
        self.mean = prepare.mean.clone() if normalised else torch.zeros(3, 1, 1)
        self.std = prepare.std.clone() if normalised else torch.ones(3, 1, 1)
        self.output = 'features' if head is None else 'probabilities' if softmax else 'logits'
        self.min_size = getattr(model.backbone, 'min_input_size', 1)

    def forward(self, images: Tensor) -> Tensor:
        """images as the arguments say -> (N, classes), or features (N, C) or (N, C, h, w)."""
        if self.preprocess:
            pixels = images.movedim(-1, 1).float()
            kept = self.to_rgb or len(self.mean) != 3
            images = ((pixels if kept else pixels.flip(1)) - self.mean) / self.std
        outputs = self.model(images, mode='tensor')
        if self.output == 'features':
            return outputs[-1]
        return scores_of(self.model.head, outputs) if self.softmax else outputs

    def input_of(self, pixels: Tensor) -> Tensor:
        """Its input for images (N, 3, H, W) as the pipeline of the config's test gives them."""
        if not self.preprocess:
            return self.model.data_preprocessor(dict(inputs=pixels))['inputs']
        pixels = pixels.flip(1) if pixels.shape[1] == 3 else pixels  # the pipelines keep BGR
        return pixels.movedim(1, -1).contiguous()


@dataclass(frozen=True)
class Program:
    """A graph as torch.export traced it, to be written.

    Attributes:
        exported: of one input.
        shapes: ``dynamic_shapes`` it was traced with.
        output: name of the output.
        metadata: of ``describe``.
    """

    exported: ExportedProgram
    shapes: tuple[dict]
    output: str
    metadata: dict
