# FCMAE on thousands of images, with our own values, not a published recipe.
_base_ = 'fcmae_1600e.py'

# Published weights know natural images already, and the rate for a batch of 4096 is scaled to yours.
param_scheduler = dict(epochs=200, warmup_epochs=10)
train_cfg = dict(max_epochs=200, val_interval=200)
auto_scale_lr = dict(enable=True)
