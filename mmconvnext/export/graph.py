"""The computation of an exported file, from images to outputs."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..config.inner_datasets import pipeline_of
from ..config.pipeline_steps import reading_of
from ..errors import UserError
from ..inference.inputs import channels_of
from ..models.fusion import FusedConvNeXtBlock
from ..models.inference import fold
from ..models.linear_head import scores_of


class Graph(nn.Module):
    """A classifier as a plain function of one tensor.

    Args:
        model: model of ``get_model``, which is not changed; without a head, the outputs are the features of
            the last stage.
        preprocess: whether to take images (N, H, W, channels) and normalize them (RGB if there are three
            channels; uint8, or float32 for networks for deeper images), or else normalized images (N,
            channels, H, W).
        softmax: whether to return probabilities, or else the outputs of the head: logits, or values of a
            regression.

    Raises:
        UserError: there are no classes for probabilities.
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
            if type(block) is FusedConvNeXtBlock:
                fold(block)
        self.preprocess, self.softmax = preprocess, softmax
        cfg = getattr(model, '_config', None) or Config()
        reading = reading_of(pipeline_of(cfg.test_dataloader.dataset) if 'test_dataloader' in cfg else [])
        deep = reading['to_float32'] or reading['full_scale'] != 255
        self.unit, self.pixel_type = reading['full_scale'] or 1.0, torch.float32 if deep else torch.uint8
        self.channels = channels_of(cfg) or 3
        # The network takes blue, green, red and alpha; mmpretrain only swaps three channels.
        self.swaps = self.channels == 4 or (self.channels == 3 and not prepare.to_rgb)
        normalised = getattr(prepare, 'mean', None) is not None
        mean, std = (prepare.mean, prepare.std) if normalised else (torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
        self.mean, self.std = (values.expand(self.channels, 1, 1).clone() for values in (mean, std))
        if head is None:
            self.output = 'features'
        elif getattr(head, 'regression', False):
            self.output = 'values'
        else:
            self.output = 'probabilities' if softmax else 'logits'
        self.min_size = getattr(model.backbone, 'min_input_size', 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute outputs (N, classes), or features (N, C) or (N, C, h, w), for images."""
        if self.preprocess:
            pixels = images.movedim(-1, 1).float()
            images = ((swapped(pixels) if self.swaps else pixels) - self.mean) / self.std
        outputs = self.model(images, mode='tensor')
        if self.output == 'features':
            return outputs[-1]
        return scores_of(self.model.head, outputs) if self.softmax else outputs

    def input_of(self, pixels: Tensor) -> Tensor:
        """Return the input of the graph for images (N, channels, H, W) from the test pipeline."""
        if not self.preprocess:
            return self.model.data_preprocessor(dict(inputs=pixels))['inputs']
        return swapped(pixels).movedim(1, -1).contiguous().to(self.pixel_type)


def swapped(pixels: Tensor) -> Tensor:
    """Swap RGB and BGR in (N, C, H, W), as in ``images.reader.swapped``."""
    if pixels.shape[1] not in (3, 4):
        return pixels
    return torch.cat([pixels[:, :3].flip(1), pixels[:, 3:]], 1)


@dataclass(frozen=True)
class Program:
    """A graph traced by torch.export.

    Attributes:
        exported: exported program with one input.
        shapes: its ``dynamic_shapes``.
        output: name of the output.
        metadata: result of ``metadata_of``.
    """

    exported: ExportedProgram
    shapes: tuple[dict]
    output: str
    metadata: dict
