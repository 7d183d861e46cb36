# Training from scratch: no weight decay on vectors and biases.
_base_ = 'adamw.py'

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0))
