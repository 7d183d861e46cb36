# ConvNeXt-Tiny on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-tiny_32xb128_in1k.py 8 --accumulate
#
# Expected top-1: 82.1 (official README); OpenMMLab's own training of its variant gave 82.14. EMA weights, not re-run here.
_base_ = [
    '../_base_/models/convnext.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/adamw_300e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]
