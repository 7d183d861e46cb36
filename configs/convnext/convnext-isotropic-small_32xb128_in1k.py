# Isotropic ConvNeXt-Small on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-isotropic-small_32xb128_in1k.py 8 --accumulate
#
# Expected top-1: 78.7 (official README), EMA weights, not re-run here.
# 50 epochs of warm-up; no layer scale.
_base_ = [
    '../_base_/models/convnext.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/adamw_300e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='isotropic-small', drop_path_rate=0.1, layer_scale_init_value=0.0),
    head=dict(in_channels=384),
)

param_scheduler = dict(warmup_epochs=50)
