# ConvNeXt-XLarge fine-tuned from ImageNet-22K at 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-xlarge_64xb64_in1k.py 8 --accumulate
#
# Expected top-1: 87.0 (official README), EMA weights, not re-run here.
# XLarge was only ever trained from ImageNet-22K.
# The file name is OpenMMLab's; the official batch is 512 = 8 GPUs x 16 x 4 accumulated.
_base_ = [
    '../_base_/models/convnext_finetune.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='xlarge', drop_path_rate=0.4), head=dict(in_channels=2048))
train_dataloader = dict(batch_size=16)
load_from = 'mmconvnext://convnext-xlarge_3rdparty_in21k'
