"""Read, override and check configs."""
