# ImageNet-1K without labels at 224 px for SparK, as in its official utils/imagenet.py.
_base_ = 'imagenet_masked_224.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmconvnext.RandomResizedCrop', scale=224, crop_ratio_range=(0.67, 1.0)),
    dict(type='mmconvnext.RandomFlip'),
    dict(type='mmconvnext.MaskPatches', patch_size=32, mask_ratio=0.6, nearest=True),
    dict(type='mmconvnext.PackInputs'),
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
