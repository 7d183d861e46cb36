"""Import mmpretrain before anyone else here does: it prints what is of no concern while it is imported."""

import io
from contextlib import redirect_stdout

with redirect_stdout(io.StringIO()):
    import mmpretrain.datasets  # noqa: F401, 'Could not import OneDL'
