# SparK pre-training of ConvNeXt V2 in mmpretrain: another length, warm-up and LAMB; lr = 2e-4 x 4096 / 512.
_base_ = 'spark_1600e.py'

optim_wrapper = dict(
    # mmpretrain clips at 5.0, and its LAMB again at 1.0, which is what counts.
    optimizer=dict(lr=0.0016, betas=(0.9, 0.95), max_grad_norm=1.0)
)
param_scheduler = dict(epochs=800, warmup_epochs=20, start_factor=1e-4, end_factor=0.0)
train_cfg = dict(max_epochs=800, val_interval=800)
