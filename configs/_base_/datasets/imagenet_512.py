# ImageNet-1K at 512 px, as in the official datasets.py. Evaluation resizes the whole image to 512 x 512.
_base_ = 'imagenet_224.py'

train_pipeline = [_base_.load, dict(type='mmconvnext.RandomResizedCrop', scale=512), *_base_.augment]
test_pipeline = [
    _base_.load,
    dict(type='Resize', scale=(512, 512), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
