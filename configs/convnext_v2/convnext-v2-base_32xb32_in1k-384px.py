# ConvNeXt V2-Base fine-tuned at 384 px after FCMAE and ImageNet-22K.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-base_32xb32_in1k-384px.py 8 --accumulate
#
# Expected top-1: 87.7 (official README), EMA weights, not re-run here.
# No official values for V2 beyond 224 px: V1's fine-tuning after ImageNet-22K, batch 512, full precision,
# with its drop path by size. It starts from the 224 px weights.
_base_ = [
    '../_base_/models/convnext_v2.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2),
    head=dict(in_channels=1024),
    train_cfg=None,  # neither mixup nor cutmix
)
train_dataloader = dict(batch_size=16)
load_from = 'mmconvnext://convnext-v2-base_fcmae-in21k-pre_3rdparty_in1k'
