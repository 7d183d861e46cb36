# FCMAE pre-training (official main_pretrain.py and TRAINING.md, batch 4096; lr = blr 1.5e-4 x 4096 / 256).
_base_ = 'adamw.py'

optim_wrapper = dict(
    optimizer=dict(lr=0.0024, betas=(0.9, 0.95), weight_decay=0.05),
    # Vectors and biases are not decayed. The official GRN has four dimensions, so its parameters are.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'grn.gamma': dict(decay_mult=1.0), 'grn.beta': dict(decay_mult=1.0)},
    ),
)
param_scheduler = dict(epochs=1600, warmup_epochs=40, warmup_reaches_peak=False, min_lr=0.0)
train_cfg = dict(max_epochs=1600, val_interval=1600)
val_cfg = test_cfg = None
auto_scale_lr = dict(base_batch_size=4096)
