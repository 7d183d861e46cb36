"""Triton kernels for NVIDIA GPUs, one operator per file; importing one imports triton."""
