"""Pictures, tables and pages about predictions and runs."""
