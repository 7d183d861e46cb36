# ConvNeXt-Small on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-small_32xb128_in1k.py 8 --accumulate
#
# Expected top-1: 83.1 (official README); OpenMMLab's own training of its variant gave 83.16. EMA weights, not re-run here.
_base_ = 'convnext-tiny_32xb128_in1k.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.4))
