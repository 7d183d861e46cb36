"""Check in a separate process, which may crash, whether an uploaded checkpoint can be loaded.

The page itself reads a file only after a separate process has read it in the same way, with limits on memory
and time. A file that crashes its reader, exhausts its memory or never ends only affects that process.
"""

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock

from ..errors import UserError
from .models import Model, Source

# Limits of a reader; they are higher for large files.
MIN_MEMORY, MEMORY_PER_BYTE = 1_000_000_000, 4  # the file, its tensors, their renamed copies and the network
MIN_SECONDS, SECONDS_PER_BYTE = 10, 1 / 40e6  # of the processor
MAX_SLOWDOWN = 2  # by other programs: a reader that waits even longer costs a new process
MAX_START_SECONDS = 300  # the import of the packages, on a busy machine
MAX_WAIT_SECONDS = 30  # for the files of others
MAX_ANSWER = 2000  # characters
READY = 'ready'
COMMAND = [sys.executable, '-c', 'from mmconvnext.page.vetting import work; work()']


class Vetting:
    """Read the files of users in another process, which is started for the first file."""

    def __init__(self):
        self._process, self._closed, self._lock = None, False, Lock()
        self._answers = {}  # per file, because uploads never change

    def check(self, file: Path) -> None:
        """Check that a file is a checkpoint that can be loaded within the limits.

        Raises:
            UserError: it is not, or the files of other users take too long.
        """
        if not self._lock.acquire(timeout=MAX_WAIT_SECONDS):
            raise UserError('another checkpoint is being read; try again in a minute')
        try:
            if file not in self._answers:
                self._answers[file] = self._read(file)
            answer = self._answers[file]
        finally:
            self._lock.release()
        if answer:
            raise UserError(answer)

    def close(self) -> None:
        """End the process and its reader for good, even if requests are waiting."""
        self._closed = True
        self._kill()

    def _read(self, file: Path) -> str:
        """Return the error of a file, or an empty text."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        seconds = MAX_SLOWDOWN * max_seconds(file.stat().st_size)
        with suppress(BrokenPipeError):  # then there is no answer, either
            self._process.stdin.write(f'{json.dumps(str(file))}\n'.encode())
            self._process.stdin.flush()
        answer = self._answer(seconds)
        if answer is None:
            self._kill()
            return f'{file} took longer than {seconds:.0f} s to read, or ended its reader'
        return answer

    def _start(self) -> None:
        # Single-threaded, because a process with several threads cannot be forked safely.
        environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        if self._closed or self._answer(MAX_START_SECONDS) != READY:
            self._kill()
            raise UserError('the process that reads checkpoints does not start; see the log of the page')

    def _answer(self, seconds: float) -> str | None:
        """Return the answer of the process, or None if it takes too long or has ended."""
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b'\n') else None

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # together with its copy that reads a file
            self._process.wait()


def work() -> None:
    """Read the files named on stdin, each in a copy of this process, and write their errors to stdout."""
    answers = os.dup(1)
    os.dup2(2, 1)  # output of libraries is not an answer

    def answer(text: str) -> None:
        os.write(answers, json.dumps(text[:MAX_ANSWER]).encode() + b'\n')

    answer(READY)
    for line in sys.stdin:
        file = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                answer(try_to_load(Source(Path(file).name, file)))
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            answer(f'{file} ended its reader with {signal.Signals(os.WTERMSIG(status)).name}')
        elif status:
            answer(f'{file} cannot be read as a checkpoint')


def try_to_load(source: Source) -> str:
    """Load a network within the limits and return the error of its file."""
    file = source.network
    limit(Path(file).stat().st_size)
    try:
        Model(source, 'cpu')
    except MemoryError:
        return f'{file} takes more memory than a checkpoint of its size should'
    except UserError as error:
        return str(error)
    except BaseException as error:  # a malicious file may raise any error, for which this process exists
        return f'{file} cannot be read as a checkpoint ({type(error).__name__}: {error})'
    return ''


def max_seconds(size: int) -> float:
    """Return the maximum processor time for a file of the given size."""
    return MIN_SECONDS + size * SECONDS_PER_BYTE


def limit(size: int) -> None:
    """Limit memory and processor time of this process for a file of the given size."""
    import resource  # missing on Windows

    seconds = int(max_seconds(size))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with suppress(FileNotFoundError):  # only Linux reports the memory that is already in use
        taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        most = taken + MIN_MEMORY + MEMORY_PER_BYTE * size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
