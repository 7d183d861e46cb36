# ConvNeXt V2-Femto fine-tuned from FCMAE on ImageNet-1K, 224 px.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-femto_32xb32_in1k.py 8 --amp --accumulate
#
# Expected top-1: 78.5 (official README; OpenMMLab measured 78.48), EMA weights, not re-run here.
# No official values for this size: those of Atto, the nearest size that has some.
_base_ = 'convnext-v2-atto_32xb32_in1k.py'

model = dict(backbone=dict(arch='femto'), head=dict(in_channels=384))
load_from = 'mmconvnext://convnext-v2-femto_3rdparty-fcmae_in1k'
