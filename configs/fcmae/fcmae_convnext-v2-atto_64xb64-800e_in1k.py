# ConvNeXt V2-Atto pre-trained with FCMAE on ImageNet-1K without labels, 800 epochs: half the official length.
#
#   tools/dist_train.sh configs/fcmae/fcmae_convnext-v2-atto_64xb64-800e_in1k.py 8 --accumulate
#
# Fine-tune with configs/convnext_v2/convnext-v2-atto_32xb32_in1k.py and --cfg-options load_from=FILE.
_base_ = [
    '../_base_/models/fcmae.py',
    '../_base_/datasets/imagenet_masked_224.py',
    '../_base_/schedules/fcmae_800e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='atto'))
