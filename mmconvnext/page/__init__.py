"""A page in the browser: classify images and see why."""
