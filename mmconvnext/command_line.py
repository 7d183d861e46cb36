"""What the tools share."""

import errno
import logging
import os
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import suppress
from pkgutil import resolve_name

from .cfg_options import CfgOptions
from .errors import RunError, UserError
from .memory import enough_memory, keep_freed_memory
from .text import printable_lines


def run_tool(function: Callable | str, args: Namespace) -> None:
    """Call a tool's function; a UserError becomes one line, from the first process of a machine.

    Args:
        function: itself, or ``package.module:name``: --help and slips are answered at once that way,
            since the libraries take ten seconds to import.
        args: of the function.
    """
    keep_freed_memory()
    logging.setLogRecordFactory(readable_record)
    warnings.showwarning = lambda message, *_: print(
        f'Note: {printable_lines(str(message))}', file=sys.stderr
    )
    try:
        call = resolve_name(function) if isinstance(function, str) else function
        with enough_memory('there is too little memory; choose a smaller batch, image or network'):
            call(**vars(args))
    except UserError as error:
        local_rank = os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))
        # What went wrong in one process alone, that one says.
        sys.exit(
            f'Error: {printable_lines(str(error))}' if local_rank == '0' or isinstance(error, RunError) else 1
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(
            f'Error: {printable_lines(str(error))}. What was saved before is whole; make room and try again'
        )
    except KeyboardInterrupt:
        print('Interrupted; what was saved before is kept', file=sys.stderr)
        sys.exit(130)


def readable_record(*args, **kwargs) -> logging.LogRecord:
    """Return a record for the log whose message obeys nothing in the names that it quotes."""
    record = logging.LogRecord(*args, **kwargs)
    with suppress(TypeError, ValueError):  # arguments that do not fit, which logging itself reports
        if (message := record.getMessage()) != (readable := printable_lines(message)):
            record.msg, record.args = readable, ()
    return record


def add_cfg_options(parser: ArgumentParser, example: str) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help=f'override the config, as {example}; lists as key="[a,b]"; text keeps its spaces',
    )


def add_model(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--model',
        '--config',
        help='name in model_zoo.md, config, or weights in any format as a file, folder or URL',
    )
    parser.add_argument(
        '--checkpoint', help='other weights for the model; alone, the network is read off them'
    )


def add_image_size(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--image-size',
        type=int,
        metavar='PIXELS',
        help="side of the network's input, set in every pipeline; resizing before a crop keeps its ratio",
    )


def add_weights(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--weights',
        choices=['ema', 'raw'],
        help='of a checkpoint of a training with EMA: the average of the weights or the weights themselves; '
        'default as the checkpoint has it: the average in those of this package and of mmengine',
    )


def add_optimize(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--optimize',
        choices=['fp32', 'bf16'],
        help='compute in the form for inference: faster, the same results to rounding of this precision',
    )


def add_trust_checkpoint(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the checkpoint even if that runs code in it; only for files whose maker you know',
    )
