"""Can an uploaded checkpoint be loaded? Found out in a process that may fail.

The page itself reads a file only after a separate process has read it in the same way, with limits on memory
and time. A file that crashes its reader, fills its memory or never ends harms nothing but that process.
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

# Limits of a reader; those of a large file are higher.
MIN_MEMORY, MEMORY_PER_BYTE = 1_000_000_000, 4  # the file, its tensors, their renamed copies and the network
MIN_SECONDS, SECONDS_PER_BYTE = 10, 1 / 40e6  # of the processor
MAX_SLOWDOWN = 2  # by other programs: a reader that waits even longer costs a new process
MAX_START_SECONDS = 300  # the import of the packages, on a busy machine
MAX_WAIT_SECONDS = 30  # for the files of others
MAX_ANSWER = 2000  # characters
READY = 'ready'
COMMAND = [sys.executable, '-c', 'from mmconvnext.page.vetting import work; work()']


class Vetting:
    """Reads the files of users in another process, which starts with the first file."""

    def __init__(self):
        self._process, self._closed, self._lock = None, False, Lock()
        self._answers = {}  # by file: the content of an upload never changes

    def check(self, file: Path) -> None:
        """Check that a file is a checkpoint that can be loaded within the limits.

        Raises:
            UserError: it is not, or the files of others take too long.
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
        """End the process and its reader, whoever waits for them; no other one starts."""
        self._closed = True
        self._kill()

    def _read(self, file: Path) -> str:
        """Return what is wrong with a file; empty: nothing."""
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
        # With a single thread, since a process that has several cannot be forked safely.
        environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        if self._closed or self._answer(MAX_START_SECONDS) != READY:
            self._kill()
            raise UserError('the process that reads checkpoints does not start; see the log of the page')

    def _answer(self, seconds: float) -> str | None:
        """Return what the process writes; None if that takes too long or the process has ended."""
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b'\n') else None

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # and with it the copy that reads a file
            self._process.wait()


def work() -> None:
    """Read the files that stdin names, each in a copy of this process; write to stdout what is wrong."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer

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
    """Load a network within the limits; return what is wrong with its file."""
    file = source.network
    limit(Path(file).stat().st_size)
    try:
        Model(source, 'cpu')
    except MemoryError:
        return f'{file} takes more memory than a checkpoint of its size should'
    except UserError as error:
        return str(error)
    except BaseException as error:  # a hostile file may raise anything: this process is there for it
        return f'{file} cannot be read as a checkpoint ({type(error).__name__}: {error})'
    return ''


def max_seconds(size: int) -> float:
    """Return the processor time that a file of so many bytes may take."""
    return MIN_SECONDS + size * SECONDS_PER_BYTE


def limit(size: int) -> None:
    """Limit the memory and the processor time of this process, which reads a file of so many bytes."""
    import resource  # missing on Windows

    seconds = int(max_seconds(size))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with suppress(FileNotFoundError):  # Linux alone tells how much the packages take already
        taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        most = taken + MIN_MEMORY + MEMORY_PER_BYTE * size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
