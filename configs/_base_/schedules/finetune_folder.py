# Fine-tuning on a few hundred to tens of thousands of images. The values are ours, not a published recipe.
# No averaged weights: at decay 0.9999, the start still makes up 97 % of the average after 300 steps.
_base_ = 'adamw.py'

optim_wrapper = dict(
    # Four times the rate of the official fine-tuning, for it takes 75,000 steps and this a few hundred;
    # layer decay leaves the stem a fifth to a twentieth of it. Weight decay of pre-training.
    optimizer=dict(lr=2e-4, weight_decay=0.05),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8, layer_decay_scheme='group'),  # official after ImageNet-22K
)
# 300 images take 10 steps an epoch: 20 to warm up AdamW's moments, 280 to learn.
param_scheduler = dict(epochs=30, warmup_epochs=2)
train_cfg = dict(max_epochs=30)

# The rate follows batch size, accumulation and the number of GPUs by itself.
auto_scale_lr = dict(enable=True, base_batch_size=32)
