# ConvNeXt V2-Pico fine-tuned from FCMAE on ImageNet-1K, 224 px.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-pico_32xb32_in1k.py 8 --amp --accumulate
#
# Expected top-1: 80.3 (official README; OpenMMLab measured 80.31), EMA weights, not re-run here.
# No official values for this size: those of Atto, the nearest size that has some.
_base_ = 'convnext-v2-atto_32xb32_in1k.py'

model = dict(backbone=dict(arch='pico'), head=dict(in_channels=512))
load_from = 'mmconvnext://convnext-v2-pico_3rdparty-fcmae_in1k'
