# V1 fine-tuning on ImageNet-1K (official TRAINING.md, batch 512). Layer decay is 0.8 after
# ImageNet-22K; configs that start from ImageNet-1K set 0.7.
_base_ = 'adamw.py'

optim_wrapper = dict(
    optimizer=dict(lr=5e-5, weight_decay=1e-8),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8, layer_decay_scheme='group'),
)
param_scheduler = dict(epochs=30)
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=512)
