"""Configs of any library train in loops that can be resumed exactly."""

from mmengine.config import Config

from mmconvnext.apis import load_config
from mmconvnext.paths import CONFIGS
from mmconvnext.training.protection import protect


def foreign(**changes):
    """Return a config as in MMSegmentation, without types of ours and without a seed."""
    cfg = Config(
        dict(
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=10, val_interval=5),
            train_dataloader=dict(
                batch_size=2,
                dataset=dict(type='Cityscapes'),
                sampler=dict(type='InfiniteSampler', shuffle=True),
                batch_sampler=dict(type='AspectRatioBatchSampler'),
                drop_last=True,
            ),
            optim_wrapper=dict(type='OptimWrapper', accumulative_counts=3),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=7)),
        )
    )
    cfg.merge_from_dict(changes)
    protect(cfg)
    return cfg


def test_foreign_config_keeps_its_settings_in_our_loop_hooks_and_batches():
    cfg = foreign()
    assert cfg.train_cfg == dict(type='mmconvnext.IterLoop', max_iters=10, val_interval=5)
    checkpoint = dict(type='mmconvnext.CheckpointHook', by_epoch=False, interval=7)
    assert cfg.default_hooks.checkpoint == checkpoint
    ours = Config.fromfile(CONFIGS / '_base_/default_runtime.py').default_hooks
    assert {name for name, hook in ours.items() if hook.type.startswith('mmconvnext.')} <= set(
        cfg.default_hooks
    )
    loader = cfg.train_dataloader
    assert loader.batch_sampler == dict(
        type='mmconvnext.ReplayableBatches',
        drop_last=True,
        multiple=3,
        inner=dict(type='AspectRatioBatchSampler'),
    )
    assert loader.sampler.seed == cfg.randomness.seed


def test_what_a_config_leaves_out_or_has_of_its_own_stays_so():
    cfg = foreign(**{'default_hooks.finite': None, 'train_cfg.type': 'MyLoop'})
    assert 'finite' not in cfg.default_hooks
    assert cfg.train_cfg.type == 'MyLoop'


def test_our_configs_name_every_hook_that_they_get():
    cfg = load_config('convnext-tiny_32xb128_in1k')
    named = dict(cfg.default_hooks)
    protect(cfg)
    assert cfg.default_hooks == named
