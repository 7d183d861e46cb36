# UPerNet with ConvNeXt-Small pre-trained on ImageNet-1K, crops of 512 px: the official recipe.
#
#   tools/dist_train.sh configs/segmentation/upernet_convnext-small_8xb2-amp-160k_ade20k-512px.py 8
#
# Expected mIoU at one scale / several scales and flips: 48.7 / 49.6 (official README), not re-run here.
_base_ = [
    '../_base_/models/upernet_convnext.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/segmentation_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='mmconvnext://convnext_small.1k_224'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
