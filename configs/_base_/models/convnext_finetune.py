# Fine-tuning: a new head with small initial weights, no mixup or cutmix (official TRAINING.md, section
# on fine-tuning). If the head of the checkpoint fits, it replaces the new one.
_base_ = 'convnext.py'

model = dict(head=dict(head_init_scale=0.001), train_cfg=None)
