# ConvNeXt-Tiny for 1000 classes, trained with mixup and cutmix. A config sets arch, head.in_channels
# and drop_path_rate.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmconvnext.ConvNeXt', arch='tiny', drop_path_rate=0.1),
    head=dict(
        type='mmconvnext.LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=None,
    ),
    init_cfg=dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0),
    # One of the two for every batch, each with probability 0.5.
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
