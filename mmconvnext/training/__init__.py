"""Prepare a run: checks and settings before the first iteration."""
