"""Kernels for NVIDIA GPUs, an operator a file; importing one imports triton. ``ops.backend`` chooses."""
