# V2 fine-tuning, Atto (official TRAINING.md, batch 1024; lr = blr 2e-4 x 1024 / 256).
_base_ = 'adamw.py'

optim_wrapper = dict(
    optimizer=dict(lr=0.0008, weight_decay=0.3),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9, layer_decay_scheme='single'),
)
param_scheduler = dict(epochs=600)
train_cfg = dict(max_epochs=600)
auto_scale_lr = dict(base_batch_size=1024)
