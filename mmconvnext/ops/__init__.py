"""Operators of the network that are faster than their plain form and give the same results."""
