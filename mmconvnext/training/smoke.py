"""Try a config without its data."""

import copy

from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size
from mmpretrain.models.selfsup import BaseSelfSupervisor

from ..config.image_size import pipelines_of_dataset
from ..config.loading import find_type
from ..config.pipeline_steps import kind
from ..errors import UserError


def make_smoke_test(cfg: Config) -> Config:
    """Return a copy of the config that trains two iterations and validates one, on noise at its resolution.

    It starts from random weights, saves no checkpoints and uses a batch size of two per process.
    Augmentation, optimizer, schedule and hooks are unchanged.

    Raises:
        UserError: the model is neither a classifier nor trained without labels.
    """
    cfg = copy.deepcopy(cfg)
    keep_schedule(cfg)
    num_classes = classes_of_noise(cfg)
    for field, batches in (('train_dataloader', 2), ('val_dataloader', 1), ('test_dataloader', 1)):
        loader = cfg.get(field)
        if loader is None:
            continue
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        pipeline = next((steps for _, steps in pipelines_of_dataset(loader.dataset, field)), None)
        if pipeline is None:
            raise UserError(f'--smoke: {field}.dataset has no pipeline to send noise through; leave it out')
        if loader.get('sampler') is None:  # for a dataset with its own order
            loader.sampler = dict(type='DefaultSampler', shuffle=field == 'train_dataloader')
        loader.dataset = ConfigDict(
            type='mmconvnext.Synthetic',
            num_classes=num_classes,
            num_samples=2 * batches * get_world_size(),
            pipeline=[step for step in pipeline if 'LoadImage' not in kind(step)],
        )
    if counts_iterations(cfg.train_cfg):  # an infinite sampler never ends an epoch
        cfg.train_cfg = dict(by_epoch=False, max_iters=2, val_interval=2)
    else:
        cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
    for hook in cfg.get('custom_hooks') or []:
        if hook.get('begin_epoch'):  # later than the end of this test
            hook.begin_epoch = 0
    silent = dict(type='CheckpointHook', interval=-1, save_last=False, save_best=None)
    cfg.merge_from_dict({'default_hooks.checkpoint': silent, 'default_hooks.logger.interval': 1})
    cfg.load_from, cfg.resume = None, False
    cfg.optim_wrapper.pop('accumulative_counts', None)  # two iterations are two steps
    cfg.pop('auto_scale_lr', None)
    return cfg


def classes_of_noise(cfg: Config) -> int:
    """Return the number of labels for the noise; a head that takes it from the data gets it, too."""
    model = find_type(cfg.model.type, cfg.get('default_scope'))
    if isinstance(model, type) and issubclass(model, BaseSelfSupervisor):
        return 1  # labels are not read
    head = cfg.model.get('head') or {}
    if 'num_classes' not in head:
        raise UserError(
            '--smoke makes noise for classifiers, whose head has num_classes, and for pre-training without '
            f'labels; {cfg.model.type} is neither: leave --smoke out'
        )
    if head.num_classes is None:
        head.num_classes = 2
    return head.num_classes


def counts_iterations(train_cfg: dict) -> bool:
    return not train_cfg.get('by_epoch', 'IterBased' not in str(train_cfg.get('type')))


def keep_schedule(cfg: Config) -> None:
    """Keep the lengths of a schedule as in the whole training instead of two iterations."""
    schedule = cfg.get('param_scheduler') or []
    for part in schedule if isinstance(schedule, (list, tuple)) else [schedule]:
        if 'begin' in part and 'end' not in part:
            length = cfg.train_cfg.get('max_epochs' if part.get('by_epoch', True) else 'max_iters')
            part['end'] = max(length or 0, part['begin'] + 1)
