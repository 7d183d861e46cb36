# ConvNeXt V2-Large fine-tuned at 384 px after FCMAE and ImageNet-22K.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-large_32xb32_in1k-384px.py 8 --accumulate
#
# Expected top-1: 88.2 (official README), EMA weights, not re-run here.
# No official values for V2 beyond 224 px: V1's fine-tuning after ImageNet-22K, batch 512, full precision,
# with its drop path by size. It starts from the 224 px weights.
_base_ = 'convnext-v2-base_32xb32_in1k-384px.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.3), head=dict(in_channels=1536))
load_from = 'mmconvnext://convnext-v2-large_fcmae-in21k-pre_3rdparty_in1k'
