# FCMAE pre-training of half the length, as in the ablations of the paper and the default of main_pretrain.py.
_base_ = 'fcmae_1600e.py'

param_scheduler = dict(epochs=800)
train_cfg = dict(max_epochs=800, val_interval=800)
