# Fine-tuning on a few hundred to tens of thousands of images, with our own values, not a published recipe.
# Weights are not averaged: with a decay of 0.9999, the initial ones make up 97 % of the average after 300 steps.
_base_ = 'adamw.py'

optim_wrapper = dict(
    # Four times the rate of the official fine-tuning, which takes 75,000 steps instead of a few hundred; layer
    # decay reduces it to a fifth to a twentieth for the stem. The weight decay is that of pretraining.
    optimizer=dict(lr=2e-4, weight_decay=0.05),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8, layer_decay_scheme='group'),  # as in official runs after 22K
)
# 300 images give 10 steps per epoch: 20 to warm up the moments of AdamW, 280 to learn.
param_scheduler = dict(epochs=30, warmup_epochs=2)
train_cfg = dict(max_epochs=30)

# Scale the learning rate with batch size, accumulation and number of GPUs.
auto_scale_lr = dict(enable=True, base_batch_size=32)
