# ConvNeXt-Base fine-tuned from ImageNet-22K at 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-base_in21k-pre_16xb32_in1k.py 8 --accumulate
#
# Expected top-1: 85.8 (official README), not re-run here.
_base_ = [
    '../_base_/models/convnext_finetune.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='base', drop_path_rate=0.2), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=32)
load_from = 'mmconvnext://convnext-base_3rdparty_in21k'
