# ConvNeXt-Base on ImageNet-22K, 224 px, 90 epochs: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-base_32xb128_in21k.py 8 --accumulate
#
# Expected top-1: not published; these weights are the start of the fine-tunings.
# The official batch is the same 4096, as 16 x 8 GPUs x 32.
_base_ = [
    '../_base_/models/convnext.py',
    '../_base_/datasets/imagenet21k_224.py',
    '../_base_/schedules/adamw_90e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.1),
    head=dict(num_classes=21841, in_channels=1024),
)
