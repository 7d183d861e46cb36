"""Errors that people read."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable


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
