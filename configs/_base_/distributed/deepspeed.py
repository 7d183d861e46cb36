# ZeRO 1: DeepSpeed shards the optimizer state over the processes; with stage=2 also the gradients.
# See docs/training.md for its limits; it needs pip install "mmconvnext[deepspeed]".
runner_type = 'mmconvnext.FlexibleRunner'
strategy = dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=1), bf16=dict(enabled=False))
