# Mask R-CNN with ConvNeXt V2-Base pre-trained on ImageNet-22K. Ours, since none is published: the official values
# of Cascade Mask R-CNN with V1-Base from ImageNet-22K. The pre-trained weights are CC BY-NC 4.0.
#
#   tools/dist_train.sh configs/detection/mask-rcnn_convnext-v2-base_fpn_8xb2-amp-ms-3x_coco.py 8
_base_ = [
    '../_base_/models/mask-rcnn_convnext.py',
    '../_base_/datasets/coco_multiscale.py',
    '../_base_/schedules/detection_3x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base',
        use_grn=True,
        layer_scale_init_value=0.0,
        drop_path_rate=0.6,
        init_cfg=dict(checkpoint='mmconvnext://convnextv2_base.22k_224_ema'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
