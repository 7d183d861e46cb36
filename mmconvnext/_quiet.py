"""Import mmpretrain without the irrelevant lines that it prints; imported before all other uses of it."""

import io
from contextlib import redirect_stdout

with redirect_stdout(io.StringIO()):
    import mmpretrain.datasets  # noqa: F401, 'Could not import OneDL'
