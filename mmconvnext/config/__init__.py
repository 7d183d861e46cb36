"""Config files, their overrides and what is checked in them."""
