# V1 fine-tuning on ImageNet-1K (official TRAINING.md, batch 512). Layer decay is 0.8 after
# ImageNet-22K; the 0.7 after ImageNet-1K stands in those leaves.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-5, weight_decay=1e-8, eps=1e-8, betas=(0.9, 0.999)),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8, layer_decay_scheme='group'),
)

param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-6 / 5e-5,
        by_epoch=True,
        end=30,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=512)
