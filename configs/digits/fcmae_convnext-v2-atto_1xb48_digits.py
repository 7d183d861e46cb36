# ConvNeXt V2-Atto pre-trained with FCMAE on handwritten digits without labels, 32 px.
#
#   tools/train.py configs/digits/fcmae_convnext-v2-atto_1xb48_digits.py
#
# Patches of 8 pixels need a network of stride 8: the stem has patches of one pixel.
_base_ = [
    '../_base_/models/fcmae.py',
    '../_base_/datasets/digits_masked_32.py',
    '../_base_/schedules/fcmae_1600e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='atto', stem_patch_size=1), patch_size=8)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(epochs=40, warmup_epochs=4)
train_cfg = dict(max_epochs=40, val_interval=40)
auto_scale_lr = dict(base_batch_size=48)
default_hooks = dict(logger=dict(interval=10))
