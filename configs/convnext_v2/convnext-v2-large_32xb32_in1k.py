# ConvNeXt V2-Large fine-tuned from FCMAE on ImageNet-1K, 224 px.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-large_32xb32_in1k.py 8 --amp --accumulate
#
# Expected top-1: 85.8 (official README; OpenMMLab measured 85.76), EMA weights, not re-run here.
# No official values for this size: those of Base, the nearest size that has some.
_base_ = 'convnext-v2-base_32xb32_in1k.py'

model = dict(backbone=dict(arch='large'), head=dict(in_channels=1536))
load_from = 'mmconvnext://convnext-v2-large_3rdparty-fcmae_in1k'
