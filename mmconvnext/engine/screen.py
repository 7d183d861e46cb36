"""Reduce the log on the screen to what matters."""

import logging
import re
from contextlib import redirect_stdout
from io import StringIO

from mmengine.logging import MMLogger

from ..hooks import PreemptionHook, ProgressHook
from .summary import summarize

# Repeated in every epoch or contained in the summary; the log file has it.
ROUTINE = (
    *('Checkpoints will be saved to ', 'Exp name: ', 'Saving checkpoint at '),
    'The previous best checkpoint ',
)
# mmengine warns about its own use of its names.
HARMLESS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')


# mmengine prints these instead of logging them while it loads a checkpoint.
SOURCE = r'Loads checkpoint by .*\n'  # the log also names it
MISMATCH = (
    r'The model and loaded state dict do not match exactly\n\n'
    r'(size mismatch .*\n)*(unexpected key .*\n\n)?(missing keys .*\n\n)?'
)


class ReadableScreen:
    """Mixin for a Runner that logs everything to the file, but only what matters to the screen.

    While the parts are built (environment, config, hooks, one line per parameter), the screen shows only
    warnings; then a summary of the run, and afterwards the usual lines of mmengine.
    """

    mismatch_reported = False  # whether the log already says which weights of the checkpoint are not loaded

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        self._screen = ScreenFilter()
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(self._screen)
                handler.formatter.info_format = '%(asctime)s  %(message)s'
        return logger

    def load_or_resume(self) -> None:
        """Log the summary; ``train``, ``val`` and ``test`` call this after all parts are built."""
        self._screen.building = False
        self.logger.info(summarize(self))
        printed = StringIO()
        with redirect_stdout(printed):
            super().load_or_resume()
        known = f'{SOURCE}|{MISMATCH}' if self.mismatch_reported else SOURCE
        print(re.sub(known, '', printed.getvalue()), end='')

    def train(self):
        try:
            return super().train()
        finally:
            self._stop_hooks()

    def test(self):
        try:
            return super().test()
        finally:
            self._stop_hooks()

    def _stop_hooks(self) -> None:
        """Restore terminal and signal handlers, even after an error."""
        for hook in self.hooks:
            if isinstance(hook, (PreemptionHook, ProgressHook)):
                hook.stop()


class ScreenFilter(logging.Filter):
    """Filter for the log records on the screen."""

    def __init__(self) -> None:
        super().__init__()
        self.building = True

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return not str(record.msg).startswith(HARMLESS)
        return not self.building and not str(record.msg).startswith(ROUTINE)
