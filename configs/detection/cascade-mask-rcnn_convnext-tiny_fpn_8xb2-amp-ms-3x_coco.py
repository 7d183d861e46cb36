# Cascade Mask R-CNN with ConvNeXt-Tiny pre-trained on ImageNet-1K: the official recipe.
#
#   tools/dist_train.sh configs/detection/cascade-mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco.py 8
#
# Expected box / mask mAP: 50.4 / 43.7 (official README), not re-run here.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_convnext.py',
    '../_base_/datasets/coco_multiscale.py',
    '../_base_/schedules/detection_3x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='mmconvnext://convnext_tiny.1k_224'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(layer_decay_rate=0.7),
)
