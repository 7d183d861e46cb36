# UPerNet with ConvNeXt-XLarge pre-trained on ImageNet-22K, crops of 640 px: the official recipe.
#
#   tools/dist_train.sh configs/segmentation/upernet_convnext-xlarge-in21k-pre_8xb2-160k_ade20k-640px.py 8
#
# Expected mIoU at one scale / several scales and flips: 53.6 / 54.0 (official README), not re-run here.
_base_ = [
    '../_base_/models/upernet_convnext_640.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/segmentation_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        arch='xlarge',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='mmconvnext://convnext_xlarge.22k_224'),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=8e-5))  # fp32, as published
