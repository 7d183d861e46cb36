"""The official configs, reduced to train on drawn shapes with two cores."""

from tests.conftest import REPO
from tests.test_downstream.shapes import CLASSES, SIZE

DETECTION = REPO / 'configs/detection/mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco.py'
SEGMENTATION = REPO / 'configs/segmentation/upernet_convnext-tiny_8xb2-amp-160k_ade20k-512px.py'
ATTO = "arch='atto', drop_path_rate=0.0, init_cfg=None"
CHANNELS = [40, 80, 160, 320]
LOADING = 'batch_size={batch}, num_workers=0, persistent_workers=False'


def detection(folder, root, *, iterations, batch, lr=1e-3):
    """Return a small config of Mask R-CNN."""
    file = folder / 'detector.py'
    loading, warmup = LOADING.format(batch=batch), min(20, iterations // 2)
    file.write_text(f"""
_base_ = '{DETECTION}'
metainfo = dict(classes={CLASSES})
proposals = dict(nms_pre=300, max_per_img=100)
norm = dict(type='GN', num_groups=8)  # without one, heads learn slowly from nothing
model = dict(
    backbone=dict({ATTO}),
    # Heads of full width, on 512 regions an image, take ten seconds an iteration.
    neck=dict(in_channels={CHANNELS}, out_channels=64, norm_cfg=norm),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=3),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, num_classes=3, norm_cfg=norm),
    ),
    # In tests as many proposals as in training: more would be of a kind that it has not seen.
    train_cfg=dict(rpn_proposal=proposals, rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=proposals),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=({SIZE}, {SIZE}), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    {loading}, dataset=dict(data_root='{root}', metainfo=metainfo, pipeline=train_pipeline)
)
val_dataloader = dict({loading}, dataset=dict(data_root='{root}', metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{root}/annotations/instances_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={iterations}, val_interval={iterations})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end={warmup}),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin={warmup}, end={iterations}),
]
optim_wrapper = dict(
    optimizer=dict(lr={lr}, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0),
    clip_grad=dict(max_norm=5.0),
)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval={iterations}), logger=dict(interval=20)
)
log_processor = dict(by_epoch=False)
auto_scale_lr = None
randomness = dict(seed=0)
""")
    return file


def segmentation(folder, root, *, iterations, batch, lr=1e-3):
    """Return a small config of UPerNet."""
    file = folder / 'segmenter.py'
    loading, warmup = LOADING.format(batch=batch), min(20, iterations // 2)
    names = ('ground', *CLASSES)
    palette = [[40 * i] * 3 for i in range(4)]
    file.write_text(f"""
_base_ = '{SEGMENTATION}'
metainfo = dict(classes={names}, palette={palette})
model = dict(
    data_preprocessor=dict(size=({SIZE}, {SIZE})),
    backbone=dict({ATTO}),
    decode_head=dict(in_channels={CHANNELS}, channels=64, num_classes=4),
    auxiliary_head=dict(in_channels={CHANNELS[2]}, channels=32, num_classes=4),
    test_cfg=dict(_delete_=True, mode='whole'),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
# ADE20K's own class takes its own classes only.
data = dict(
    type='BaseSegDataset',
    data_root='{root}',
    img_suffix='.jpg',
    seg_map_suffix='.png',
    reduce_zero_label=True,
    metainfo=metainfo,
)
train_dataloader = dict({loading}, dataset=dict(data, pipeline=train_pipeline))
val_dataloader = dict({loading}, dataset=dict(data, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters={iterations}, val_interval={iterations})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end={warmup}),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin={warmup}, end={iterations}),
]
optim_wrapper = dict(
    optimizer=dict(lr={lr}, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0),
    clip_grad=dict(max_norm=5.0),
)
default_hooks = dict(checkpoint=dict(interval={iterations}), logger=dict(interval=20))
randomness = dict(seed=0)
""")
    return file
