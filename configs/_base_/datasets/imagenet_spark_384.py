# ImageNet-1K without labels at 384 px for SparK, as in its official pretrain/README.md.
_base_ = 'imagenet_masked_224.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmconvnext.RandomResizedCrop', scale=384, crop_ratio_range=(0.67, 1.0)),
    dict(type='mmconvnext.RandomFlip'),
    dict(type='mmconvnext.MaskPatches', patch_size=32, mask_ratio=0.75, nearest=True),
    dict(type='mmconvnext.PackInputs'),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
