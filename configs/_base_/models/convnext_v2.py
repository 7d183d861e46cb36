# ConvNeXt V2: GRN, no layer scale. Fine-tuning starts from FCMAE weights with a new head of std 2e-5
# (official main_finetune.py).
_base_ = 'convnext.py'

model = dict(
    backbone=dict(use_grn=True, layer_scale_init_value=0.0),
    head=dict(init_cfg=dict(_delete_=True, type='TruncNormal', layer='Linear', std=2e-5, bias=0.0)),
)
