# ConvNeXt-Large on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-large_64xb64_in1k.py 8 --accumulate
#
# Expected top-1: 84.3 (official README). EMA weights, not re-run here.
_base_ = 'convnext-tiny_32xb128_in1k.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.5), head=dict(in_channels=1536))
train_dataloader = dict(batch_size=64)
