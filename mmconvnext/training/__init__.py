"""Preparing a run: what is checked and set before the first iteration."""
