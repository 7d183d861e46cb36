"""Protect trainings of any library: exact resuming, safe checkpoints and guards."""

from mmengine.config import Config, ConfigDict
from mmengine.dist import sync_random_seed

from ..checkpoints import load_checkpoint
from ..datasets.replay import Replayed
from ..engine.processes import decided_by_first
from ..errors import UserError
from ..paths import CONFIGS
from .recipe import accumulation_of

LOOPS = {True: 'mmconvnext.EpochLoop', False: 'mmconvnext.IterLoop'}
STOCK_LOOPS = {'EpochBasedTrainLoop': True, 'IterBasedTrainLoop': False}


def protect(cfg: Config, *, trust_checkpoint: bool = False) -> None:
    """Make a run resume exactly after interruptions, save safely, and stop at non-finite values.

    mmengine's loops, its checkpoint hook and any sampler are replaced or wrapped by ours, which do the same
    and can be resumed at any iteration. Settings are unchanged.
    """
    fix_seed(cfg, trust=trust_checkpoint)
    use_own_loop(cfg)
    use_own_hooks(cfg)
    use_own_batches(cfg)


def fix_seed(cfg: Config, *, trust: bool) -> None:
    """Give a resumed run its original seed; a new run without a seed draws one.

    Raises:
        UserError: the config has another seed than the resumed run.
    """
    seed = cfg.get('randomness', {}).get('seed')
    if cfg.get('resume'):
        saved = decided_by_first(
            lambda: load_checkpoint(cfg.load_from, mmap=True, trust=trust)['meta'].get('seed', seed)
        )
        if seed not in (None, saved):
            raise UserError(
                f'{cfg.load_from} was saved with randomness.seed={saved}, the config sets {seed}: the order '
                'of the data would change in the middle. Keep the seed, or start a new run from its weights: '
                '--cfg-options load_from=FILE and another --work-dir'
            )
        seed = saved
    cfg.merge_from_dict({'randomness.seed': sync_random_seed() if seed is None else seed})


def use_own_loop(cfg: Config) -> None:
    loop = cfg.train_cfg
    name = bare_name(loop.get('type'))
    by_epoch = STOCK_LOOPS.get(name, loop.get('by_epoch', True))
    if name is None or name in STOCK_LOOPS:
        loop.pop('by_epoch', None)
        loop.type = LOOPS[by_epoch]


def use_own_hooks(cfg: Config) -> None:
    ours = Config.fromfile(CONFIGS / '_base_/default_runtime.py').default_hooks
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    for name, hook in ours.items():
        if hook.type.startswith('mmconvnext.'):
            hooks.setdefault(name, hook)
            # mmengine can only disable its own hooks.
            if hooks[name] is None and name != 'checkpoint':
                del hooks[name]
    if hooks.get('checkpoint') is not None and bare_name(hooks.checkpoint.get('type')) == 'CheckpointHook':
        hooks.checkpoint.type = 'mmconvnext.CheckpointHook'


def bare_name(configured: str | type | None) -> str | None:
    """Return the name of a type (text or class) in a config without its library."""
    if isinstance(configured, type):
        return configured.__name__
    return configured.removeprefix('mmengine.') if configured else None


def use_own_batches(cfg: Config) -> None:
    """Wrap the batches of the training data, unless it is a stream with its own order."""
    for loader in (cfg.train_dataloader, cfg.get('val_dataloader')):
        if loader is not None:
            loader.setdefault('worker_init_fn', dict(type='mmconvnext.leave_signals_to_parent'))
    loader = cfg.train_dataloader
    if loader.get('sampler') is None:
        return
    # mmengine would draw another seed in a resumed run.
    loader.sampler.setdefault('seed', cfg.randomness.seed)
    loader.batch_sampler = ConfigDict(
        type='mmconvnext.ReplayableBatches',
        drop_last=loader.pop('drop_last', False),
        multiple=accumulation_of(cfg),
        inner=loader.get('batch_sampler'),
    )


def replayed(dataset, cfg: Config):
    """Wrap the training data so that its random draws are reproducible."""
    return Replayed(dataset, cfg.randomness.seed) if cfg.train_dataloader.get('sampler') else dataset
