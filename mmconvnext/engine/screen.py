"""A screen that people can read."""

import logging
import re
from contextlib import redirect_stdout
from io import StringIO

from mmengine.logging import MMLogger

from ..hooks import PreemptionHook, ProgressHook
from .summary import summarize

# Said at every epoch, or by the summary; the log file has it.
ROUTINE = (
    *('Checkpoints will be saved to ', 'Exp name: ', 'Saving checkpoint at '),
    'The previous best checkpoint ',
)
# mmengine warns of its own use of its own names.
HARMLESS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')


# mmengine prints them, past the log, while it loads a checkpoint.
SOURCE = r'Loads checkpoint by .*\n'  # the log names it, too
MISMATCH = (
    r'The model and loaded state dict do not match exactly\n\n'
    r'(size mismatch .*\n)*(unexpected key .*\n\n)?(missing keys .*\n\n)?'
)


class ReadableScreen:
    """For a Runner that tells the log file everything and the screen what matters.

    While the parts are built (environment, config, hooks, one line for every parameter) only
    warnings reach the screen; a summary of what runs follows, then mmengine's lines as ever.
    """

    mismatch_reported = False  # whether the log says which weights of the checkpoint are not loaded

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        self._screen = ScreenFilter()
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(self._screen)
                handler.formatter.info_format = '%(asctime)s  %(message)s'
        return logger

    def load_or_resume(self) -> None:
        """Called by ``train``, ``val`` and ``test`` once all parts are built."""
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
        """Give back terminal and signals, however it ends."""
        for hook in self.hooks:
            if isinstance(hook, (PreemptionHook, ProgressHook)):
                hook.stop()


class ScreenFilter(logging.Filter):
    """What the screen shows of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.building = True

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return not str(record.msg).startswith(HARMLESS)
        return not self.building and not str(record.msg).startswith(ROUTINE)
