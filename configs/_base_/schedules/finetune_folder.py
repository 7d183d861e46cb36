# Fine-tuning on a few hundred to tens of thousands of images. The values are ours, not a published recipe.
# No averaged weights: at decay 0.9999, the start still makes up 97 % of the average after 300 steps.
optim_wrapper = dict(
    type='OptimWrapper',
    # Four times the rate of the official fine-tuning, for it takes 75,000 steps and this a few hundred;
    # layer decay leaves the stem a fifth to a twentieth of it. Weight decay of pre-training.
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8, layer_decay_scheme='group'),  # official after ImageNet-22K
)

# 300 images take 10 steps an epoch: 20 to warm up AdamW's moments, 280 to learn.
param_scheduler = [
    # From 0; mmengine's rule multiplies, so it needs a start above 0.
    dict(type='LinearLR', start_factor=1e-9, by_epoch=True, end=2, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-6 / 2e-4,
        by_epoch=True,
        begin=2,
        end=30,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# The rate follows batch size, accumulation and the number of GPUs by itself.
auto_scale_lr = dict(enable=True, base_batch_size=32)
