"""What a classifier takes images for, counted."""
