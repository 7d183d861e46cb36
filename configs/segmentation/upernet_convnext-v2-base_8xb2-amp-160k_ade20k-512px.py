# UPerNet with ConvNeXt V2-Base pre-trained on ImageNet-22K, crops of 512 px. Ours, since none is published: the
# official values for V1-Base. The pre-trained weights are CC BY-NC 4.0.
#
#   tools/dist_train.sh configs/segmentation/upernet_convnext-v2-base_8xb2-amp-160k_ade20k-512px.py 8
_base_ = [
    '../_base_/models/upernet_convnext.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/segmentation_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base',
        use_grn=True,
        layer_scale_init_value=0.0,
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='mmconvnext://convnextv2_base.22k_224_ema'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
