"""Training images are augmented where the network is, all images of a batch together."""

from mmpretrain.models import ClsDataPreprocessor

from ..registry import MODELS, TRANSFORMS


@MODELS.register_module()
class AugmentingDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's, which first applies to training images what ``DrawAugmentation`` drew for each.

    Args:
        steps: configs of the transforms whose draws they are.
        **kwargs: of ``ClsDataPreprocessor``.
    """

    def __init__(self, steps: list[dict], **kwargs):
        super().__init__(**kwargs)
        self.steps = [TRANSFORMS.build(step) for step in steps]

    def forward(self, data: dict, training: bool = False) -> dict:
        if training:
            drawn = zip(*(sample.augmentation for sample in data['data_samples']), strict=True)
            images = self.cast_data(data['inputs']).clone()
            for step, draws in zip(self.steps, drawn, strict=True):
                step.apply_to_batch(images, draws)
            data = {**data, 'inputs': images}
        return super().forward(data, training)
