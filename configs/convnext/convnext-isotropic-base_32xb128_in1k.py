# Isotropic ConvNeXt-Base on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-isotropic-base_32xb128_in1k.py 8 --accumulate
#
# Expected top-1: 82.0 (official README), EMA weights, not re-run here.
# 50 epochs of warm-up; no layer scale.
_base_ = 'convnext-isotropic-small_32xb128_in1k.py'

model = dict(backbone=dict(arch='isotropic-base', drop_path_rate=0.2), head=dict(in_channels=768))
