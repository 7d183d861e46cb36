# Weights, gradients, optimizer state and weight average are sharded over the processes; see
# mmconvnext/engine/sharding.py. Results and checkpoints are the same as with data parallelism.
runner_type = 'mmconvnext.ShardedRunner'
