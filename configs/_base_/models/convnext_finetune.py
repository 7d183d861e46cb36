# Fine-tuning: a new head that starts small, neither mixup nor cutmix (official TRAINING.md, section
# on fine-tuning). A head of the checkpoint that fits is loaded over the new one.
_base_ = 'convnext.py'

model = dict(head=dict(head_init_scale=0.001), train_cfg=None)
