"""Errors that people read."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from difflib import get_close_matches

# A longer list of choices hides the message.
MOST_CHOICES = 40


class UserError(ValueError):
    """What was found, what was expected and what to do; the tools print it alone and exit with 1."""


def run_tool(function: Callable, args: Namespace) -> None:
    """Call a tool's function; a UserError becomes one line, from the first process of a machine."""
    try:
        function(**vars(args))
    except UserError as error:
        local_rank = os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))
        sys.exit(f'Error: {error}' if local_rank == '0' else 1)
    except KeyboardInterrupt:
        print('Interrupted; checkpoints that were saved are kept', file=sys.stderr)
        sys.exit(130)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known ones, or all if they are few."""
    known = sorted(known)
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f'; did you mean {" or ".join(close)}?'
    return f'; choose from {", ".join(known)}' if len(known) <= MOST_CHOICES else ''
