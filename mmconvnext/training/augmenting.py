"""Move a part of the augmentation to the device of the network."""

from itertools import takewhile

from mmengine.config import Config

from ..config.inner_datasets import inner_settings
from ..config.loading import find_type
from ..datasets.drawn import DrawnTransform
from ..datasets.masks import MaskPatches
from ..errors import UserError

UPSTREAM = None, 'ClsDataPreprocessor', 'mmpretrain.ClsDataPreprocessor'


def augment_batches(cfg: Config) -> None:
    """Let the data preprocessor apply the last transforms of the training pipeline to whole batches.

    The workers still draw the random numbers of these transforms, so a run has the same draws with and
    without. Masks of patches may follow these transforms, since they depend only on the size of an image.

    Raises:
        UserError: the last transforms cannot be applied to batches, or the library is not mmpretrain.
    """
    settings = cfg.model.get('data_preprocessor', cfg.get('data_preprocessor'))
    if settings is None or settings.get('type') not in UPSTREAM:
        found = 'none' if settings is None else settings.type
        raise UserError(
            '--augment-on-device needs a data_preprocessor of type ClsDataPreprocessor, and that '
            f'of the config is {found}; train without it'
        )
    collate = cfg.train_dataloader.get('collate_fn', {}).get('type', 'default_collate')
    if collate != 'default_collate':
        raise UserError(
            '--augment-on-device takes batches that are one tensor, and train_dataloader.collate_fn is '
            f'{collate}; leave one of them out'
        )
    scope = cfg.get('default_scope')
    datasets = inner_settings(cfg.train_dataloader.dataset)
    *steps, pack = datasets[0].get('pipeline') or [None]
    masks = [steps.pop()] if steps and find_type(steps[-1].type, scope) is MaskPatches else []
    waiting = list(takewhile(lambda step: is_drawn(step, scope), reversed(steps)))[::-1]
    if not waiting:
        last = steps[-1].type if steps else 'nothing'
        raise UserError(
            f'--augment-on-device: the last transform of the training pipeline before it packs is {last}, '
            'which works on single images only; let mmconvnext.RandomFlip, mmconvnext.RandAugment or '
            'mmconvnext.RandomErasing be the last, or train without it'
        )
    last = [*waiting, *masks, pack]
    if any(each.get('pipeline', [])[-len(last) :] != last for each in datasets):
        raise UserError(
            '--augment-on-device: the datasets of train_dataloader.dataset end in different transforms, and '
            'a batch can hold images of each; give them the same ones, or train without it'
        )
    for each in datasets:
        each.pipeline = [
            *each.pipeline[: -len(last)],
            dict(type='mmconvnext.DrawAugmentation', steps=waiting),
            *masks,
            dict(pack, algorithm_keys=(*pack.get('algorithm_keys', ()), 'augmentation')),
        ]
    settings.update(type='mmconvnext.AugmentingDataPreprocessor', steps=waiting)


def keep_augmentation(loader: dict) -> None:
    """Restore the transforms that ``augment_batches`` removed from a pipeline in a dumped config."""
    for settings in inner_settings(loader.dataset):
        if settings.get('pipeline'):
            settings.pipeline = [
                part
                for step in settings.pipeline
                for part in (step.steps if step.type == 'mmconvnext.DrawAugmentation' else [step])
            ]


def is_drawn(step: dict, scope: str | None) -> bool:
    kind = find_type(step.type, scope)
    return isinstance(kind, type) and issubclass(kind, DrawnTransform)
