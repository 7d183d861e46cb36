"""Variables that libraries read, for as long as they are needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# gradio reads these when it is imported and when a page is built: nothing is reported to its makers.
SILENT = dict(GRADIO_ANALYTICS_ENABLED='0', HF_HUB_DISABLE_TELEMETRY='1')


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables inside, and put the whole environment back: gradio sets some by itself."""
    former = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in os.environ.keys() - former.keys():
            del os.environ[name]
        os.environ.update(former)
