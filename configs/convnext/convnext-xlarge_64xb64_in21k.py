# ConvNeXt-XLarge on ImageNet-22K, 224 px, 90 epochs: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-xlarge_64xb64_in21k.py 8 --accumulate
#
# Expected top-1: not published; these weights are the start of the fine-tunings.
# The official batch is the same 4096, as 16 x 8 GPUs x 32.
_base_ = 'convnext-base_32xb128_in21k.py'

model = dict(backbone=dict(arch='xlarge', drop_path_rate=0.2), head=dict(in_channels=2048))
train_dataloader = dict(batch_size=64)
