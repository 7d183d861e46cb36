# ImageNet-1K without labels at 224 px for masked pre-training, as in the official main_pretrain.py of V2. There is
# nothing to validate; the loss is on removed patches.
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmconvnext.RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0)),
    dict(type='mmconvnext.RandomFlip'),
    dict(type='mmconvnext.MaskPatches', patch_size=32, mask_ratio=0.6),
    dict(type='mmconvnext.PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=10,
    dataset=dict(type='ImageNet', data_root='data/imagenet', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
    drop_last=True,
)
val_dataloader = val_evaluator = None
test_dataloader = test_evaluator = None

custom_hooks = [dict(type='mmconvnext.ReconstructionHook', interval=20)]
