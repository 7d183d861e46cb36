# ConvNeXt V2-Tiny fine-tuned from FCMAE on ImageNet-1K, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext_v2/convnext-v2-tiny_32xb32_in1k.py 8 --amp --accumulate
#
# Expected top-1: 83.0 (official README; OpenMMLab measured 82.94), EMA weights, not re-run here.
_base_ = [
    '../_base_/models/convnext_v2.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_300e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(drop_path_rate=0.2),
)
train_dataloader = dict(batch_size=32)
load_from = 'mmconvnext://convnext-v2-tiny_3rdparty-fcmae_in1k'
