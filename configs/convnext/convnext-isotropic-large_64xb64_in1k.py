# Isotropic ConvNeXt-Large on ImageNet-1K from scratch, 224 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-isotropic-large_64xb64_in1k.py 8 --accumulate
#
# Expected top-1: 82.6 (official README), EMA weights, not re-run here.
# 50 epochs of warm-up; layer scale stays on, unlike in Small and Base.
_base_ = 'convnext-isotropic-small_32xb128_in1k.py'

model = dict(
    backbone=dict(arch='isotropic-large', drop_path_rate=0.5, layer_scale_init_value=1e-6),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=64)
