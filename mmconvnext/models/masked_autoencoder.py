"""Pre-training that reconstructs the removed patches of images: FCMAE for V2 and SparK for V1."""

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..errors import UserError, check_counts
from .convnext import ConvNeXt
from .masking import VisiblePatches


class MaskedAutoencoder(BaseSelfSupervisor):
    """Encode the visible patches of images, and predict the pixels of the removed ones.

    Subclasses define ``neck``, the decoder, which turns the maps of ``visible_states`` and the patches'
    places into images. The masks come with the data samples, drawn by ``MaskPatches`` in the pipeline. The
    loss is the mean squared error over the removed patches; the target is each patch, normalized by its own
    mean and deviation.

    Args:
        backbone: config of a ``ConvNeXt`` of several stages, with ``out_indices=()``: it has no final norm.
        patch_size: side of the patches in pixels, a multiple of the backbone's stride.
        norm_pix: whether to normalize the target of each patch.
        data_preprocessor: config of mmpretrain's ``ClsDataPreprocessor``.
        init_cfg: see mmengine's ``BaseModule``.

    Raises:
        UserError: the backbone is another one, has a single stage or final norms, or its stride does not
            divide the patches.
    """

    def __init__(
        self,
        backbone: dict,
        patch_size: int = 32,
        norm_pix: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list | None = None,
    ):
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = {'type': 'mmpretrain.ClsDataPreprocessor', **(data_preprocessor or {})}
            data_preprocessor.pop('num_classes', None)
        head = dict(
            type='mmpretrain.SparKPretrainHead',
            patch_size=patch_size,
            norm_pix=norm_pix,
            loss=dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2'),
        )
        check_counts(**{'model.patch_size': patch_size})
        super().__init__(backbone, head=head, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.patch_size = patch_size
        if not isinstance(self.backbone, ConvNeXt):
            raise UserError(
                f'{type(self).__name__} takes an mmconvnext.ConvNeXt, and model.backbone is of '
                f"{type(self.backbone).__module__}; write type='mmconvnext.ConvNeXt'"
            )
        if self.backbone.out_indices:
            raise UserError(
                f'model.backbone.out_indices is {self.backbone.out_indices}, and the norms of these outputs '
                f'would stay untrained in {type(self).__name__}; write out_indices=()'
            )
        stride = self.backbone.min_input_size
        if len(self.backbone.depths) == 1:
            raise UserError(
                f'{type(self).__name__} takes a network of several stages, and this one has a single '
                'stage, as isotropic ones have: choose another model.backbone.arch, such as tiny'
            )
        if patch_size % stride:
            raise UserError(
                f'patches of {patch_size} pixels do not fit a backbone of stride {stride}; set '
                f'model.patch_size and patch_size of MaskPatches in the pipeline to a multiple of {stride}'
            )

    def reconstruct(self, inputs: Tensor, visible: VisiblePatches) -> Tensor:
        """Predict images from their visible patches.

        Args:
            inputs: (N, C, H, W), normalized; removed patches are not read.
            visible: the visible patches.

        Returns:
            (N, C, H, W); each patch normalized as the target is.
        """
        return self.neck(self.backbone(inputs, visible), visible)

    def restore(self, inputs: Tensor, visible: VisiblePatches) -> Tensor:
        """Predict images from their visible patches, with the range of values of the images.

        Args:
            inputs: (N, C, H, W), normalized.
            visible: the visible patches.

        Returns:
            (N, C, H, W); if targets are normalized, each patch gets the mean and the deviation that it has in
            the image, which the network does not predict.
        """
        predicted = self.reconstruct(inputs, visible)
        if not self.head.norm_pix:
            return predicted
        sides = (inputs.shape[2] // self.patch_size, self.patch_size, -1, self.patch_size)
        values = (1, 3, 5)  # of a patch, in N, C, row, y, column, x
        patches = inputs.unflatten(3, sides[2:]).unflatten(2, sides[:2])
        deviation = (patches.var(values, keepdim=True) + 1e-6).sqrt()
        scaled = predicted.unflatten(3, sides[2:]).unflatten(2, sides[:2]) * deviation
        return (scaled + patches.mean(values, keepdim=True)).flatten(4, 5).flatten(2, 3)

    def loss(self, inputs: Tensor, data_samples: list[DataSample] | None = None) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            inputs, data_samples: see ``visible_patches``.

        Raises:
            UserError: masks are missing or do not fit the images.
        """
        visible = self.visible_patches(inputs, data_samples)
        return dict(loss=self.head(self.reconstruct(inputs, visible), inputs, ~visible.masked[:, None]))

    def visible_patches(self, inputs: Tensor, data_samples: list[DataSample] | None) -> VisiblePatches:
        """Return the visible patches of a batch, on its device.

        Args:
            inputs: (N, C, H, W), normalized.
            data_samples: each with ``mask``, (rows, columns) of bool, True for removed patches.

        Raises:
            UserError: masks are missing or do not fit the images.
        """
        if data_samples is None or any('mask' not in sample for sample in data_samples):
            raise UserError(
                f'{type(self).__name__} finds no masks in the data samples; add '
                "dict(type='mmconvnext.MaskPatches') to the training pipeline, in front of PackInputs"
            )
        visible = VisiblePatches(torch.stack([sample.mask for sample in data_samples]).bool())
        if visible.is_everything:
            raise UserError('the masks remove no patch, so there is nothing to reconstruct')
        side = inputs.shape[2] // visible.grid[0]
        if side != self.patch_size:
            raise UserError(
                f'the masks have patches of {side} pixels and the model patches of {self.patch_size}; give '
                'both the same value, model.patch_size and that of MaskPatches in '
                'train_dataloader.dataset.pipeline'
            )
        return visible.to(inputs.device)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the map of the last stage, (N, C, H / stride, W / stride), of whole images."""
        return self.backbone.hidden_states(inputs)[-1:]
