"""How fast the network is, and its peers, measured in one run."""
