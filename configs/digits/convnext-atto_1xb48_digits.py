# ConvNeXt-Atto from scratch on handwritten digits, 32 px; one to two minutes on two CPU cores.
#
#   tools/train.py configs/digits/convnext-atto_1xb48_digits.py
#
# Expected top-1: 98.9, measured with seed 0 on two CPU cores, torch 2.15.0.
_base_ = [
    '../_base_/models/convnext.py',
    '../_base_/datasets/digits_32.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='atto', drop_path_rate=0.0),
    head=dict(num_classes=10, in_channels=320),
    train_cfg=None,  # neither mixup nor cutmix: too strong for a short training
)
default_hooks = dict(logger=dict(interval=10))
