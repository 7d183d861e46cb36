# Your own images at 224 px, in one folder per class; see mmconvnext/datasets/image_folder.py. Pass the folder
# as --data-root.
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

data_root = 'data/images'
# At least a third of the image: a crop of 8 %, as in the ImageNet recipe, often misses the object.
crop = dict(scale=224, crop_ratio_range=(0.35, 1.0))
train_pipeline = [
    dict(type='mmconvnext.LoadImageForCrop', **crop),
    dict(type='mmconvnext.RandomResizedCrop', **crop),
    # Remove it if left and right differ, as in text.
    dict(type='mmconvnext.RandomFlip'),
    # About half the strength of the ImageNet recipe: short runs on pretrained features need less regularization.
    dict(type='mmconvnext.RandAugment', magnitude=5, magnitude_std=0.5),
    dict(type='mmconvnext.PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=4,  # fits a laptop
    dataset=dict(type='mmconvnext.ImageFolder', data_root=data_root, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
    drop_last=False,  # 20 images are one batch, not none
)

val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(type='mmconvnext.ImageFolder', data_root=data_root, split='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))  # two classes have no top 5

test_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(type='mmconvnext.ImageFolder', data_root=data_root, split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = val_evaluator

custom_hooks = [dict(type='mmconvnext.ClassReportHook')]
