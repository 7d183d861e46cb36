# ConvNeXt-XLarge fine-tuned from ImageNet-22K at 384 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-xlarge_64xb64_in1k-384px.py 8 --accumulate
#
# Expected top-1: 87.8 (official README), EMA weights, not re-run here.
# The file name is OpenMMLab's; the official batch is 512 = 8 GPUs x 8 x 8 accumulated.
_base_ = [
    '../_base_/models/convnext_finetune.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/ema.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='xlarge', drop_path_rate=0.4), head=dict(in_channels=2048))
train_dataloader = dict(batch_size=8)
load_from = 'mmconvnext://convnext-xlarge_3rdparty_in21k'
