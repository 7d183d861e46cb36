class UserError(ValueError):
    """What was found, what was expected and what to do; the tools print it alone and exit with 1."""
