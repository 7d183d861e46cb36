# ImageNet-1K at 224 px, as in the official datasets.py. Evaluation resizes the short side to 256 and crops 224.
rgb_mean, rgb_std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
data_preprocessor = dict(mean=rgb_mean, std=rgb_std, to_rgb=True, num_classes=1000)

# Images are BGR until the data preprocessor converts them.
grey, noise = rgb_mean[::-1], rgb_std[::-1]

load = dict(type='LoadImageFromFile')
augment = [
    dict(type='mmconvnext.RandomFlip'),
    dict(type='mmconvnext.RandAugment', magnitude=9, magnitude_std=0.5),  # rand-m9-mstd0.5-inc1
    dict(type='mmconvnext.RandomErasing', mean=grey, std=noise),
    dict(type='mmconvnext.PackInputs'),
]
train_pipeline = [load, dict(type='mmconvnext.RandomResizedCrop', scale=224), *augment]

test_pipeline = [
    load,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    dataset=dict(type='ImageNet', data_root='data/imagenet', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
    drop_last=True,
)

val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    dataset=dict(type='ImageNet', data_root='data/imagenet', split='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
