# ConvNeXt-Base on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-base_32xb128_in1k.py 8 --accumulate
#
# Expected top-1: 83.8 (official README); OpenMMLab's own training of its variant gave 83.66. EMA weights, not re-run here.
_base_ = 'convnext-tiny_32xb128_in1k.py'

model = dict(backbone=dict(arch='base', drop_path_rate=0.5), head=dict(in_channels=1024))
