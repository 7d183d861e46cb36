# ZeRO 1: DeepSpeed spreads the moments over the processes; with stage=2 the gradients too.
# See docs/training.md for what it leaves out; needs pip install "mmconvnext[deepspeed]".
runner_type = 'mmconvnext.FlexibleRunner'
strategy = dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=1), bf16=dict(enabled=False))
