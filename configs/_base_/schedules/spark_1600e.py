# SparK pre-training (official arg_util.py, main.py and lr_control.py, batch 4096; lr = base_lr 2e-4 x 4096 / 256).
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    # LAMB itself clips the gradients; clip_grad would be a second time.
    optimizer=dict(
        type='mmpretrain.Lamb', lr=0.0032, betas=(0.9, 0.999), weight_decay=0.04, max_grad_norm=5.0
    ),
    # Vectors, with biases, and mask tokens are not decayed.
    paramwise_cfg=dict(flat_decay_mult=0.0, custom_keys=dict(mask_token=dict(decay_mult=0.0))),
)
param_scheduler = dict(
    type='mmconvnext.SparKSchedule',
    convert_to_iter_based=True,
    epochs=1600,
    warmup_epochs=40,
    final_weight_decay=0.2,
)
train_cfg = dict(by_epoch=True, max_epochs=1600, val_interval=1600)
val_cfg = test_cfg = None
auto_scale_lr = dict(base_batch_size=4096)
