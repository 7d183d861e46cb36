# ImageNet-1K at 384 px, as in the official datasets.py. Evaluation resizes the whole image to 384 x 384.
_base_ = 'imagenet_224.py'

train_pipeline = [_base_.load, dict(type='mmconvnext.RandomResizedCrop', scale=384), *_base_.augment]
test_pipeline = [
    _base_.load,
    dict(type='Resize', scale=(384, 384), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
