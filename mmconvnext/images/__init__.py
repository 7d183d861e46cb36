"""From image files to the numbers a network takes."""
