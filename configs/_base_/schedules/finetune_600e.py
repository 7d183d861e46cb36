# V2 fine-tuning, Atto (official TRAINING.md, batch 1024; lr = blr 2e-4 x 1024 / 256).
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0008, weight_decay=0.3, eps=1e-8, betas=(0.9, 0.999)),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9, layer_decay_scheme='single'),
)

param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-6 / 0.0008,
        by_epoch=True,
        end=600,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=600, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=1024)
