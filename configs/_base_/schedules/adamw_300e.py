# V1 on ImageNet-1K from scratch (official TRAINING.md, batch 4096).
_base_ = 'adamw.py'

optim_wrapper = dict(
    optimizer=dict(lr=0.004, weight_decay=0.05),
    # No weight decay on vectors and biases.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(epochs=300, warmup_epochs=20)
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=4096)
