# Settings of all recipes; files that inherit set lr, weight_decay, groups, lengths and the batch size.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', eps=1e-8, betas=(0.9, 0.999)),
)
param_scheduler = dict(
    type='mmconvnext.WarmupCosineLR', convert_to_iter_based=True, warmup_epochs=0, min_lr=1e-6
)

train_cfg = dict(by_epoch=True, val_interval=1)
val_cfg = dict()
test_cfg = dict()
