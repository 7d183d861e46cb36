# V2 fine-tuning, Tiny (official TRAINING.md, batch 1024; lr = blr 8e-4 x 1024 / 256).
_base_ = 'adamw.py'

optim_wrapper = dict(
    optimizer=dict(lr=0.0032, weight_decay=0.05),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9, layer_decay_scheme='single'),
)
param_scheduler = dict(epochs=300, warmup_epochs=40, warmup_reaches_peak=False)
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=1024)
