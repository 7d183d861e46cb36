# Your own images at 224 px without labels, in any folders, for masked pre-training. Pass the folder as --data-root.
_base_ = 'imagenet_masked_224.py'

train_dataloader = dict(
    batch_size=32,
    num_workers=4,  # fits a laptop
    dataset=dict(
        _delete_=True,
        type='mmconvnext.UnlabeledImages',
        data_root='data/images',
        pipeline=_base_.train_pipeline,
    ),
    drop_last=False,  # 20 images are one batch, not none
)
custom_hooks = [dict(type='mmconvnext.ReconstructionHook', interval=10)]
