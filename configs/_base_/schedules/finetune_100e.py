# V2 fine-tuning, Base (official TRAINING.md, batch 1024; lr = blr 6.25e-4 x 1024 / 256).
_base_ = 'adamw.py'

optim_wrapper = dict(
    optimizer=dict(lr=0.0025, weight_decay=0.05),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.6, layer_decay_scheme='group'),
)
param_scheduler = dict(epochs=100, warmup_epochs=20, warmup_reaches_peak=False)
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=1024)
