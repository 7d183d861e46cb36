# 36 epochs. The official files do not specify the warm-up, so it is that of mmdet's 1x schedule.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='AdamW', betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_scheme='group'),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
train_cfg = dict(max_epochs=36)
