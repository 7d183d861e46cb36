# Isotropic ConvNeXt-Large on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-isotropic-large_64xb64_in1k.py 8 --cfg-options optim_wrapper.accumulative_counts=8
#
# Expected top-1: 82.6 (official README), EMA weights, not re-run here.
# 50 epochs of warm-up; layer scale stays on, unlike in Small and Base.
_base_ = [
    '../_base_/models/convnext.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/adamw_300e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='isotropic-large', drop_path_rate=0.5),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=64)

warmup, cosine = _base_.param_scheduler
param_scheduler = [{**warmup, 'end': 50}, {**cosine, 'begin': 50}]
