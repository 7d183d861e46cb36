# Data parallelism, as in every run with several processes, but without the second copy of the gradients
# (4 bytes per parameter) that torch keeps by default to exchange them.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel',
    broadcast_buffers=False,
    gradient_as_bucket_view=True,
)
