"""Faster implementations of the network's operators, with the same results as their plain form."""
