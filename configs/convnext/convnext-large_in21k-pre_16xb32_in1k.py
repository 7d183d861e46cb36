# ConvNeXt-Large fine-tuned from ImageNet-22K at 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-large_in21k-pre_16xb32_in1k.py 8 --accumulate
#
# Expected top-1: 86.6 (official README), not re-run here.
_base_ = 'convnext-base_in21k-pre_16xb32_in1k.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.3), head=dict(in_channels=1536))
load_from = 'mmconvnext://convnext-large_3rdparty_in21k'
