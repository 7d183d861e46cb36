# ConvNeXt-Base fine-tuned from ImageNet-1K at 224 px to 384 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-base_32xb128_in1k-384px.py 8 --accumulate
#
# Expected top-1: 85.1 (official README), not re-run here.
# The file name is OpenMMLab's; the official batch is 512 = 8 GPUs x 32 x 2 accumulated.
_base_ = [
    '../_base_/models/convnext_finetune.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='base', drop_path_rate=0.8), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.7))
load_from = 'mmconvnext://convnext-base_3rdparty_in1k'
