# UPerNet with ConvNeXt-Base pre-trained on ImageNet-22K, crops of 640 px: the official recipe.
#
#   tools/dist_train.sh configs/segmentation/upernet_convnext-base-in21k-pre_8xb2-amp-160k_ade20k-640px.py 8
#
# Expected mIoU at one scale / several scales and flips: 52.6 / 53.1 (official README), not re-run here.
_base_ = [
    '../_base_/models/upernet_convnext_640.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/segmentation_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='mmconvnext://convnext_base.22k_224'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
