"""Try any config without its data."""

import copy

from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size

from ..errors import UserError


def make_smoke_test(cfg: Config) -> Config:
    """A copy that trains two iterations and validates one, on noise at the config's own resolution.

    It starts from random weights and saves none; each process gets batches of two images. All
    else, the augmentation, optimizer, schedule and hooks, stays as it is.

    Raises:
        UserError: the model is no classifier.
    """
    if 'head' not in cfg.model:
        raise UserError(f'--smoke makes noise for classifiers, and {cfg.model.type} is none; leave it out')
    cfg = copy.deepcopy(cfg)
    if cfg.model.head.num_classes is None:  # left to the data, which there is none of
        cfg.model.head.num_classes = 2
    for field, batches in (('train_dataloader', 2), ('val_dataloader', 1), ('test_dataloader', 1)):
        loader = cfg.get(field)
        if loader is None:
            continue
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        if loader.get('sampler') is None:  # of a dataset with an order of its own
            loader.sampler = dict(type='DefaultSampler', shuffle=field == 'train_dataloader')
        loader.dataset = ConfigDict(
            type='mmconvnext.Synthetic',
            num_classes=cfg.model.head.num_classes,
            num_samples=2 * batches * get_world_size(),
            pipeline=[step for step in loader.dataset.pipeline if 'LoadImage' not in step.type],
        )
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
    silent = dict(type='CheckpointHook', interval=-1, save_last=False, save_best=None)
    cfg.merge_from_dict({'default_hooks.checkpoint': silent, 'default_hooks.logger.interval': 1})
    cfg.load_from, cfg.resume = None, False
    cfg.optim_wrapper.pop('accumulative_counts', None)  # two iterations are two steps
    cfg.pop('auto_scale_lr', None)
    return cfg
