# ConvNeXt V2-Tiny pre-trained with FCMAE on your own images, which need no labels.
#
#   tools/train.py configs/fcmae/fcmae_convnext-v2-tiny_folder.py --data-root photos
#
# It goes on from the official encoder, pre-trained on ImageNet-1K; its weights are CC BY-NC 4.0, not for commercial
# use. Start from random weights with --cfg-options load_from=None.
_base_ = [
    '../_base_/models/fcmae.py',
    '../_base_/datasets/unlabeled_224.py',
    '../_base_/schedules/fcmae_folder.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='tiny'))
load_from = 'mmconvnext://convnextv2_tiny.1k_224_fcmae'
