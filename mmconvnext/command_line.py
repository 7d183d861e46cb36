"""Options and error handling that all tools share."""

import errno
import gc
import logging
import os
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pkgutil import resolve_name

from .cfg_options import CfgOptions
from .errors import RunError, UserError
from .memory import enough_memory, keep_freed_memory
from .text import printable_lines


def run_tool(function: Callable | str, args: Namespace) -> None:
    """Call the function of a tool, and print a UserError as one line in the first process of each machine.

    Args:
        function: the function, or ``package.module:name``, so that --help and wrong options do not wait for
            the libraries, whose import takes seconds.
        args: arguments of the function.
    """
    keep_freed_memory()
    logging.setLogRecordFactory(readable_record)
    warnings.showwarning = lambda message, *_: print(
        f'Note: {printable_lines(str(message))}', file=sys.stderr
    )
    try:
        with imports():
            call = resolve_name(function) if isinstance(function, str) else function
        with enough_memory('there is too little memory; choose a smaller batch, image or network'):
            call(**vars(args))
    except UserError as error:
        local_rank = os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))
        # An error in a single process is printed by that process.
        sys.exit(f'Error: {error}' if local_rank == '0' or isinstance(error, RunError) else 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(
            f'Error: {printable_lines(str(error))}. What was saved before is whole; make room and try again'
        )
    except KeyboardInterrupt:
        print('Interrupted; what was saved before is kept', file=sys.stderr)
        sys.exit(130)


@contextmanager
def imports() -> Iterator[None]:
    """Keep the garbage collector away from the million objects of the libraries.

    Searching them again and again takes a sixth of the time of an import, and a second at the start of a run.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def readable_record(*args, **kwargs) -> logging.LogRecord:
    """Return a log record in whose message control characters are escaped."""
    record = logging.LogRecord(*args, **kwargs)
    with suppress(TypeError, ValueError):  # wrong arguments, which logging itself reports
        if (message := record.getMessage()) != (readable := printable_lines(message)):
            record.msg, record.args = readable, ()
    return record


def add_cfg_options(parser: ArgumentParser, example: str) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help=f'override values of the config, such as {example}; lists as key="[a,b]"; text keeps its spaces',
    )


def add_model(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--model',
        '--config',
        help='name in model_zoo.md, config, or weights in any format as a file, folder or URL',
    )
    parser.add_argument(
        '--checkpoint', help='other weights for the model; without --model, the network is inferred from them'
    )


def add_image_size(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--image-size',
        type=int,
        metavar='PIXELS',
        help="height and width of the network's input; resizing before a crop is scaled with it",
    )


def add_weights(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--weights',
        choices=['ema', 'raw'],
        help='for checkpoints with both: the averaged weights (ema) or the weights themselves (raw); '
        'default those in state_dict, which is the average in checkpoints of this package and of mmengine',
    )


def add_optimize(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--optimize',
        choices=['fp32', 'bf16'],
        help='optimize the network for inference: faster, equal up to rounding in this precision',
    )


def add_trust_checkpoint(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the checkpoint even if that runs code in it; only for files that you trust',
    )
