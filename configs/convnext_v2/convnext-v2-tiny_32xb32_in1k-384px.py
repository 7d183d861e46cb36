# ConvNeXt V2-Tiny fine-tuned at 384 px after FCMAE and ImageNet-22K.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-tiny_32xb32_in1k-384px.py 8 --accumulate
#
# Expected top-1: 85.1 (official README), EMA weights, not re-run here.
# No official values for V2 beyond 224 px: V1's fine-tuning after ImageNet-22K, batch 512, full precision,
# with its drop path by size. It starts from the 224 px weights.
_base_ = 'convnext-v2-base_32xb32_in1k-384px.py'

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.0), head=dict(in_channels=768))
load_from = 'mmconvnext://convnext-v2-tiny_fcmae-in21k-pre_3rdparty_in1k'
