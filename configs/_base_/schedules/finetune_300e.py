# V2 fine-tuning, Tiny (official TRAINING.md, batch 1024; lr = blr 8e-4 x 1024 / 256).
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0032, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9, layer_decay_scheme='single'),
)

param_scheduler = [
    # From 0; mmengine's rule multiplies, so it needs a start above 0.
    dict(type='LinearLR', start_factor=1e-9, by_epoch=True, end=40, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-6 / 0.0032,
        by_epoch=True,
        begin=40,
        end=300,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=1024)
