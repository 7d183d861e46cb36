"""Errors for users, with readable messages."""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral

from .text import printable_lines

# A longer list of choices hides the message.
MAX_CHOICES = 40


class UserError(ValueError):
    """A mistake that the user can correct: what was found, what was expected and what to do.

    The tools print only the message and exit with status 1. Control characters in the message, which may
    come from file names, are escaped.
    """

    def __init__(self, message: object):
        super().__init__(printable_lines(str(message)))


class RunError(UserError):
    """An error during a run, possibly in one of its processes only."""


def check_counts(**counts: int) -> None:
    """Raise UserError unless all values are whole numbers from 1 on."""
    for name, count in counts.items():
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise UserError(f'{name} is {count!r} of type {type(count).__name__}; expected a whole number')
        if count < 1:
            raise UserError(f'{name} is {count}; it should be at least 1')


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: similar known words, or all if there are few."""
    known = sorted(set(known))  # a recipe and a checkpoint may have the same name
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f'; did you mean {" or ".join(close)}?'
    return f'; choose from {", ".join(known)}' if len(known) <= MAX_CHOICES else ''
