# ConvNeXt-Tiny fine-tuned at 384 px after ImageNet-22K.
#
#   tools/dist_train.sh configs/convnext/convnext-tiny_32xb128_in1k-384px.py 8 --accumulate
#
# Expected top-1: 84.1 (official README, weights fine-tuned straight from 22K), not re-run here.
# No official values for this size: the recipe of Base after ImageNet-22K, with the drop path that
# continues the official 0.2, 0.3, 0.4 of Base, Large, XLarge downwards. It starts from the 224 px weights,
# since OpenMMLab has no pure 22K weights of this size. The file name is OpenMMLab's; the official batch is 512.
_base_ = [
    '../_base_/models/convnext_finetune.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(drop_path_rate=0.0))
train_dataloader = dict(batch_size=16)
load_from = 'mmconvnext://convnext-tiny_in21k-pre_3rdparty_in1k'
