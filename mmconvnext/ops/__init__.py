"""Pieces of the network in forms that are faster than their plain ones, and equal to them."""
