"""Pass malicious files to everything that reads checkpoints, in a separate process that may crash.

Prints a line of JSON before and after every attempt.
"""

import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mmconvnext.apis.convert import convert
from mmconvnext.apis.train import train
from mmconvnext.errors import UserError
from mmconvnext.export.exporting import load_classifier
from mmconvnext.inference.classifier import ImageClassificationInferencer
from mmconvnext.page.models import Models, Source

MAX_SECONDS = 10  # processor time, so that a busy machine fails no test
MAX_WAIT = 60
MAX_MEMORY = 10**9  # bytes more than for a valid file
PIXELS = np.zeros((32, 32, 3), np.uint8)


class TooLongError(BaseException):
    """Not an ``Exception``, so that no reader treats it as a broken file."""


def too_long(*_) -> None:
    raise TooLongError(''.join(traceback.format_stack()[-4:]))


def scores(source: Path, out: Path) -> list[float]:
    result = ImageClassificationInferencer(str(source), device='cpu')(PIXELS)[0]
    if 'error' in result:  # as from weights whose scores are not finite
        raise UserError(result['error'])
    return result['pred_scores'].tolist()


def resume(source: Path, work_dir: Path) -> None:
    train(
        sys.argv[2], work_dir=str(work_dir), resume=str(source),
        cfg_options={'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
                     'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False},
    )  # fmt: skip


# What follows the loading does not depend on the file.
READERS: dict[str, Callable[[Path, Path], object]] = {
    'convert': lambda source, out: convert(source, out / 'converted.pth'),
    'infer': scores,
    'export': lambda source, out: load_classifier(source, None, False),
    'page': lambda source, out: Models('cpu').get(Source(source.name, str(source))),
    'resume': resume,
}


def out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error was caused by missing memory, which does not count as a refusal."""
    while error is not None:
        if isinstance(error, MemoryError) or 'DefaultCPUAllocator' in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def outcome(read: Callable, source: Path, out: Path) -> tuple[str, object]:
    """Return the outcome, and the scores if there are any."""
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, MAX_WAIT)
    try:
        found = read(source, out)
        return 'read', found if read is scores else None
    except UserError as error:
        if out_of_memory(error):
            return f'failed: {traceback.format_exc()}', None
        return f'message: {error}', None
    except (Exception, TooLongError):
        return f'failed: {traceback.format_exc()}', None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    logging.disable(logging.CRITICAL)
    report = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # the output of readers is not part of the report
    tries = json.loads(Path(sys.argv[1]).read_text())
    for name in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(name, too_long)
    for i, (source, reader) in enumerate(tries):
        if i == len(READERS):  # valid files first
            pages = int(Path('/proc/self/statm').read_text().split()[0])
            limit = pages * os.sysconf('SC_PAGE_SIZE') + MAX_MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        print(json.dumps(dict(source=source, reader=reader)), file=report, flush=True)
        out = Path(tempfile.mkdtemp())
        start = time.process_time()
        found, numbers = outcome(READERS[reader], Path(source), out)
        seconds = time.process_time() - start
        shutil.rmtree(out)
        line = dict(source=source, reader=reader, outcome=found, scores=numbers, seconds=seconds)
        print(json.dumps(line), file=report, flush=True)


if __name__ == '__main__':
    main()
