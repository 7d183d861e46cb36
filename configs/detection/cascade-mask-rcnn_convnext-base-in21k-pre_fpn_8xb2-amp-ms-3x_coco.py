# Cascade Mask R-CNN with ConvNeXt-Base pre-trained on ImageNet-22K: the official recipe.
#
#   tools/dist_train.sh configs/detection/cascade-mask-rcnn_convnext-base-in21k-pre_fpn_8xb2-amp-ms-3x_coco.py 8
#
# Expected box / mask mAP: 54.0 / 46.9 (official README), not re-run here.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_convnext.py',
    '../_base_/datasets/coco_multiscale.py',
    '../_base_/schedules/detection_3x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.6,
        init_cfg=dict(checkpoint='mmconvnext://convnext_base.22k_224'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
