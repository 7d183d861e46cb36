# ConvNeXt V2-Nano fine-tuned from FCMAE on ImageNet-1K, 224 px.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-nano_32xb32_in1k.py 8 --amp --cfg-options optim_wrapper.accumulative_counts=4
#
# Expected top-1: 81.9 (official README; OpenMMLab measured 81.86), EMA weights, not re-run here.
# No official values for this size: those of Atto, the nearest size that has some.
_base_ = [
    '../_base_/models/convnext_v2.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_600e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='nano'),
    head=dict(in_channels=640, loss=dict(label_smooth_val=0.2)),
    train_cfg=None,  # neither mixup nor cutmix
)
train_dataloader = dict(batch_size=32)
load_from = (
    'https://download.openmmlab.com/mmclassification/v0/convnext-v2/'
    'convnext-v2-nano_3rdparty-fcmae_in1k_20230104-3dd1f29e.pth'
)
