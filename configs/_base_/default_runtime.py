default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmconvnext.CheckpointHook', interval=1, max_keep_ckpts=3, save_best='auto'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
    progress=dict(type='mmconvnext.ProgressHook'),
    throughput=dict(type='mmconvnext.ThroughputHook'),
    replay=dict(type='mmconvnext.ReplayHook'),
    preemption=dict(type='mmconvnext.PreemptionHook'),
    finite=dict(type='mmconvnext.FiniteHook', skip=0),
    broken_images=dict(type='mmconvnext.BrokenImagesHook', max_fraction=0.01),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
# Official main.py: seed 0 plus the rank. Samplers use the same seed on all ranks, set in datasets/.
randomness = dict(seed=0, diff_rank_seed=True)
