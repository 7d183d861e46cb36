"""A demo page in the browser that classifies images and explains the predictions."""
