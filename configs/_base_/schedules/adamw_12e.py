# A short training from scratch on small data.
_base_ = 'adamw_scratch.py'

optim_wrapper = dict(optimizer=dict(lr=2e-3, weight_decay=0.05))
param_scheduler = dict(epochs=12, warmup_epochs=1, min_lr=2e-6)
train_cfg = dict(max_epochs=12)
auto_scale_lr = dict(base_batch_size=48)
