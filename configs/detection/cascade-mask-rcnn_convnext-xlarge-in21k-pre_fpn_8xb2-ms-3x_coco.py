# Cascade Mask R-CNN with ConvNeXt-XLarge pre-trained on ImageNet-22K: the official recipe.
#
#   tools/dist_train.sh configs/detection/cascade-mask-rcnn_convnext-xlarge-in21k-pre_fpn_8xb2-ms-3x_coco.py 8
#
# Expected box / mask mAP: 55.2 / 47.7 (official README), not re-run here.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_convnext.py',
    '../_base_/datasets/coco_multiscale.py',
    '../_base_/schedules/detection_3x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch='xlarge',
        drop_path_rate=0.8,
        init_cfg=dict(checkpoint='mmconvnext://convnext_xlarge.22k_224'),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
optim_wrapper = dict(
    type='OptimWrapper',  # fp32, as published
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(layer_decay_rate=0.7),
)
