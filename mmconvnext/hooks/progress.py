"""Show a progress bar in terminals."""

import atexit
import logging
import sys
import time
from datetime import timedelta

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from ..registry import HOOKS

try:
    import resource
except ImportError:  # Windows
    resource = None

# Maximum share of the time for drawing, which takes one or two milliseconds, or more on a slow line.
SHARE_OF_TIME = 1 / 500
MIN_SECONDS_BETWEEN, MAX_SECONDS_BETWEEN = 0.5, 5.0


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show epoch, ETA, images per second, loss, learning rate and memory below the log lines.

    In a terminal, the periodic lines of LoggerHook are written to the log file only, because the bar shows
    the same. Without a terminal, and in all processes but the first, the hook does nothing.

    The bar is drawn between iterations instead of in a thread: a loader process forked while such a thread
    holds the lock of the terminal would wait for it forever.
    """

    priority = 'VERY_LOW'  # after the hooks whose numbers it shows

    def __init__(self) -> None:
        self.live = None

    def before_train(self, runner: Runner) -> None:
        self.start(runner, 'train', total=runner.max_iters, done=runner.iter)
        self.timed_from = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.live is None:
            return
        now, done = time.perf_counter(), runner.iter + 1
        if self.timed_from is None:
            self.timed_from = now, done  # the first iteration compiles, allocates and starts workers
        if now >= self.due:
            self._describe_training(runner, done, now)
            self._draw()

    def before_val_epoch(self, runner: Runner) -> None:
        if self.live is not None:
            self.pass_task = self.bars.add_task('validation', total=len(runner.val_dataloader), eta='')
            self._draw()

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._step(batch_idx)

    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        if self.live is not None:
            self.bars.remove_task(self.pass_task)
            self._draw()

    def before_test_epoch(self, runner: Runner) -> None:
        self.start(runner, 'test', total=len(runner.test_dataloader))
        self.pass_task = self.task

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._step(batch_idx)

    def after_train(self, runner: Runner) -> None:
        self.stop()

    def after_test_epoch(self, runner: Runner, metrics=None) -> None:
        self.stop()

    def start(self, runner: Runner, name: str, *, total: int, done: int = 0) -> None:
        """Draw an empty bar and redirect the log above it, if there is a terminal."""
        self.task = None
        console = Console()
        if not is_main_process() or not sys.stdout.isatty() or console.is_dumb_terminal:
            return
        self.bars = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn('{task.fields[eta]}'),
            console=console,
            expand=True,
        )
        self.task = self.bars.add_task(name, total=total, completed=done, eta='')
        self.numbers = Text(no_wrap=True, overflow='ellipsis', style='dim')
        self.live = Live(
            Group(self.bars, self.numbers),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )
        self.handlers = [
            (handler, handler.stream)
            for handler in runner.logger.handlers
            if getattr(handler, 'stream', None) is sys.stdout
        ]
        # mmengine's Runner does not call its hooks when training fails.
        atexit.register(self.stop)
        self.live.start()
        for handler, _ in self.handlers:
            handler.setStream(sys.stdout)  # since start(), a proxy that prints above the bar
            handler.addFilter(is_not_periodic)
        self._draw()
        self.due = (
            time.perf_counter()
        )  # rich imports modules at the first drawing, which is slower than the next ones

    def stop(self) -> None:
        """Remove the bar; a second call does nothing."""
        if self.live is None:
            return
        self.live.stop()
        self.live = None
        for handler, stream in self.handlers:
            handler.setStream(stream)
            handler.removeFilter(is_not_periodic)
        atexit.unregister(self.stop)

    def _step(self, batch_idx: int) -> None:
        if self.live is not None and time.perf_counter() >= self.due:
            self.bars.update(self.pass_task, completed=batch_idx + 1)
            self._draw()

    def _describe_training(self, runner: Runner, done: int, now: float) -> None:
        timed_from, first = self.timed_from
        eta = ''
        if done > first:
            # This includes the validations and checkpoints so far, so the estimate does, too.
            left = (now - timed_from) / (done - first) * (runner.max_iters - done)
            eta = f'ETA {timedelta(seconds=round(left))}'
        # An iteration-based loop counts as one epoch.
        name = f'epoch {runner.epoch + 1}/{runner.max_epochs}' if runner.max_epochs > 1 else 'train'
        self.bars.update(self.task, completed=done, eta=eta, description=name)
        scalars = runner.message_hub.log_scalars
        numbers = []
        if 'train/images_per_s' in scalars:
            numbers.append(f'{scalars["train/images_per_s"].current():,.0f} images/s')
        if 'train/loss' in scalars:
            numbers.append(f'loss {scalars["train/loss"].mean(10):.4f}')
        if 'train/lr' in scalars:
            numbers.append(f'lr {scalars["train/lr"].current():.2e}')
        self.numbers.plain = '   '.join([*numbers, *peak_memory()])

    def _draw(self) -> None:
        start = time.perf_counter()
        self.live.refresh()
        now = time.perf_counter()
        pause = max((now - start) / SHARE_OF_TIME, MIN_SECONDS_BETWEEN)
        self.due = now + min(pause, MAX_SECONDS_BETWEEN)


def is_not_periodic(record: logging.LogRecord) -> bool:
    """Return False for the lines that LoggerHook writes every few iterations."""
    return record.module != 'logger_hook' or not record.funcName.endswith('_iter')


def peak_memory() -> list[str]:
    """Return the peak memory of the GPU, or else of this process; empty if it is unknown."""
    if torch.cuda.is_available():
        return [f'{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU']
    if resource is None:
        return []
    unit = 1 if sys.platform == 'darwin' else 1024  # bytes there, KiB on Linux
    return [f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB']
