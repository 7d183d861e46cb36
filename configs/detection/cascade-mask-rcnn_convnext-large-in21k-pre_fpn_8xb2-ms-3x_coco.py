# Cascade Mask R-CNN with ConvNeXt-Large pre-trained on ImageNet-22K: the official recipe.
#
#   tools/dist_train.sh configs/detection/cascade-mask-rcnn_convnext-large-in21k-pre_fpn_8xb2-ms-3x_coco.py 8
#
# Expected box / mask mAP: 54.8 / 47.6 (official README), not re-run here.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_convnext.py',
    '../_base_/datasets/coco_multiscale.py',
    '../_base_/schedules/detection_3x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.7,
        init_cfg=dict(checkpoint='mmconvnext://convnext_large.22k_224'),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
optim_wrapper = dict(
    type='OptimWrapper',  # fp32, as published
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(layer_decay_rate=0.7),
)
