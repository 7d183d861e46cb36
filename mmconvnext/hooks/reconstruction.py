"""Draw what a masked pre-training reconstructs while it learns."""

from pathlib import Path

import numpy as np
from mmengine.dataset import Compose
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset

from ..config.unaugmented import unaugmented_pipeline
from ..datasets.replay import draws_put_back, is_broken_image, seed_draws
from ..errors import UserError, check_counts
from ..models.masked_autoencoder import MaskedAutoencoder
from ..models.network import unwrapped
from ..registry import HOOKS
from ..reports.reconstruction import reconstruct_sample, save_reconstructions
from ..text import counted


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Draw reconstructions of a few training images every few epochs, see ``tools/reconstruct.py``.

    The pictures are ``reconstructions/epoch_N.png`` in the work dir. The images are evenly spaced in the
    dataset; they are not augmented and masked alike in every picture. Only the first process draws, and the
    run is the same as without this hook. Sharded weights are not drawn.

    Args:
        interval: epochs from one picture to the next; there is always one of the last epoch.
        images: number of images.
    """

    def __init__(self, interval: int = 10, images: int = 8):
        check_counts(interval=interval, images=images)
        self.interval, self.images = interval, images

    @master_only
    def before_train(self, runner: Runner) -> None:
        model, dataset = unwrapped(runner.model), runner.train_dataloader.dataset
        if not isinstance(model, MaskedAutoencoder):
            raise UserError(
                f'ReconstructionHook is for masked pre-training, and the model is a {type(model).__name__}; '
                'take it out of custom_hooks'
            )
        self.samples = []
        if is_sharded(model):
            runner.logger.info('Reconstructions are not drawn: the weights are sharded.')
        elif not hasattr(dataset, 'get_data_info'):
            runner.logger.info(
                f'Reconstructions are not drawn: {type(dataset).__name__} gives its images in order only.'
            )
        else:
            with draws_put_back():
                self.samples = fixed_samples(dataset, unaugmented_pipeline(runner.cfg), self.images)
            if missing := min(self.images, len(dataset)) - len(self.samples):
                runner.logger.warning(f'{counted(missing, "image")} to reconstruct cannot be read.')

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        due = self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        if not due or not self.samples:
            return
        model = unwrapped(runner.model).eval()
        rows = [reconstruct_sample(model, sample, name) for name, sample in self.samples]
        model.train()
        folder = Path(runner.work_dir, 'reconstructions')
        save_reconstructions(rows, folder / f'epoch_{runner.epoch + 1}.png')


def is_sharded(model: nn.Module) -> bool:
    """Return whether a process has parts of the weights only, as with FSDP, or empty ones, as with ZeRO-3."""
    return any(isinstance(weight, DTensor) or not weight.numel() for weight in model.parameters())


def fixed_samples(dataset: Dataset, pipeline: list[dict], count: int) -> list[tuple[str, dict]]:
    """Return images at fixed places of a dataset with their names, except those that cannot be read."""
    transforms = Compose([TRANSFORMS.build(step) for step in pipeline])
    samples = []
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist():
        info = dataset.get_data_info(index)
        seed_draws(0, 0, 0)
        try:
            sample = transforms(info)
        except Exception as error:  # transforms raise any exception
            if not is_broken_image(error):
                raise
            continue
        samples.append((str(info.get('img_path', f'image {index}')), sample))
    return samples
