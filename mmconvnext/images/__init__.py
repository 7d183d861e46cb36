"""Read and preprocess images for a network."""
