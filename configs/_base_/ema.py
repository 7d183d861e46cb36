# Validation and checkpoints use the averaged weights.
custom_hooks = [dict(type='mmconvnext.EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]  # EMA decay 0.9999
