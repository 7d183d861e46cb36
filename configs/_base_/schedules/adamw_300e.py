# V1 on ImageNet-1K from scratch (official TRAINING.md, batch 4096).
_base_ = 'adamw_scratch.py'

optim_wrapper = dict(optimizer=dict(lr=0.004, weight_decay=0.05))
param_scheduler = dict(epochs=300, warmup_epochs=20)
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=4096)
