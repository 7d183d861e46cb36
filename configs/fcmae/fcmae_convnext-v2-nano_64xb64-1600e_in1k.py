# ConvNeXt V2-Nano pre-trained with FCMAE on ImageNet-1K without labels, 1600 epochs: the official recipe, whose command is for Base.
#
#   tools/dist_train.sh configs/fcmae/fcmae_convnext-v2-nano_64xb64-1600e_in1k.py 8 --accumulate
#
# Fine-tune with configs/convnext_v2/convnext-v2-nano_32xb32_in1k.py and --cfg-options load_from=FILE.
_base_ = [
    '../_base_/models/fcmae.py',
    '../_base_/datasets/imagenet_masked_224.py',
    '../_base_/schedules/fcmae_1600e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='nano'))
