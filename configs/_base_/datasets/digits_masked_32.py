# Handwritten digits at 32 px without labels: a grid of 4 x 4 patches, of which 6 stay visible.
_base_ = 'digits_32.py'

enlarge = dict(type='Resize', scale=(32, 32), backend='pillow', interpolation='bicubic')
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            enlarge,
            dict(type='RandomCrop', crop_size=32, padding=2),
            dict(type='Rotate', angle=10, prob=0.5),
            dict(type='mmconvnext.MaskPatches', patch_size=8, mask_ratio=0.6),
            dict(type='mmconvnext.PackInputs'),
        ]
    )
)
val_dataloader = val_evaluator = None
test_dataloader = test_evaluator = None

custom_hooks = [dict(type='mmconvnext.ReconstructionHook', interval=10)]
