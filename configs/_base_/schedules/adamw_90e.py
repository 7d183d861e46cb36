# V1 on ImageNet-22K (official TRAINING.md, batch 4096), which is not evaluated.
_base_ = 'adamw_scratch.py'

optim_wrapper = dict(optimizer=dict(lr=0.004, weight_decay=0.05))
param_scheduler = dict(epochs=90, warmup_epochs=5)
train_cfg = dict(max_epochs=90)
val_cfg = test_cfg = None
auto_scale_lr = dict(base_batch_size=4096)
