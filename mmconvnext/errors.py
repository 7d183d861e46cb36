"""Errors that people read."""

from collections.abc import Iterable
from difflib import get_close_matches

# A longer list of choices hides the message.
MOST_CHOICES = 40


class UserError(ValueError):
    """What was found, what was expected and what to do; the tools print it alone and exit with 1."""


class RunError(UserError):
    """Ends a run that was well begun, perhaps in one of its processes only."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known ones, or all if they are few."""
    known = sorted(set(known))  # a recipe and a checkpoint may have one name
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f'; did you mean {" or ".join(close)}?'
    return f'; choose from {", ".join(known)}' if len(known) <= MOST_CHOICES else ''
