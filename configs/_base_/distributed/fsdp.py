# Weights, gradients, moments and their average spread over the processes, see mmconvnext/engine/sharding.py.
# The numbers and the checkpoints are those of data parallelism.
runner_type = 'mmconvnext.ShardedRunner'
