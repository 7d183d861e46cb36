"""What every training gets, whichever library its config comes from: nothing it has done is lost."""

from mmengine.config import Config, ConfigDict
from mmengine.dist import sync_random_seed

from ..datasets.replay import Replayed
from ..paths import CONFIGS

LOOPS = {True: 'mmconvnext.EpochLoop', False: 'mmconvnext.IterLoop'}
STOCK_LOOPS = {'EpochBasedTrainLoop': True, 'IterBasedTrainLoop': False}


def protect(cfg: Config) -> None:
    """Let a run go on exactly after an interruption, save safely, and stop before it goes astray.

    It takes mmengine's loops, its checkpoint hook and any sampler and replaces or wraps them by ours,
    which do the same and can be resumed at any iteration. Settings stay as they are.
    """
    if cfg.get('randomness', {}).get('seed') is None:
        cfg.merge_from_dict({'randomness.seed': sync_random_seed()})
    use_own_loop(cfg)
    use_own_hooks(cfg)
    use_own_batches(cfg)


def use_own_loop(cfg: Config) -> None:
    loop = cfg.train_cfg
    by_epoch = STOCK_LOOPS.get(loop.get('type'), loop.get('by_epoch', True))
    if loop.get('type') is None or loop.type in STOCK_LOOPS:
        loop.pop('by_epoch', None)
        loop.type = LOOPS[by_epoch]


def use_own_hooks(cfg: Config) -> None:
    ours = Config.fromfile(CONFIGS / '_base_/default_runtime.py').default_hooks
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    for name, hook in ours.items():
        if hook.type.startswith('mmconvnext.'):
            hooks.setdefault(name, hook)
    if hooks.checkpoint is not None and hooks.checkpoint.get('type') == 'CheckpointHook':
        hooks.checkpoint.type = 'mmconvnext.CheckpointHook'


def use_own_batches(cfg: Config) -> None:
    """Wrap the batches of the training data, unless it is a stream that orders itself."""
    loader = cfg.train_dataloader
    if loader.get('sampler') is None:
        return
    # mmengine would draw another seed in a resumed run.
    loader.sampler.setdefault('seed', cfg.randomness.seed)
    loader.batch_sampler = ConfigDict(
        type='mmconvnext.ReplayableBatches',
        drop_last=loader.pop('drop_last', False),
        multiple=cfg.optim_wrapper.get('accumulative_counts', 1),
        inner=loader.get('batch_sampler'),
    )


def replayed(dataset, cfg: Config):
    """The training data with draws that can be repeated."""
    return Replayed(dataset, cfg.randomness.seed) if cfg.train_dataloader.get('sampler') else dataset
