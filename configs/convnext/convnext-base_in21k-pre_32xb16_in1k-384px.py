# ConvNeXt-Base fine-tuned from ImageNet-22K at 384 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-base_in21k-pre_32xb16_in1k-384px.py 8 --accumulate
#
# Expected top-1: 86.8 (official README), not re-run here.
_base_ = [
    '../_base_/models/convnext_finetune.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='base', drop_path_rate=0.2), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=16)
load_from = 'mmconvnext://convnext-base_3rdparty_in21k'
