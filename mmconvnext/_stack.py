"""Check that one of the two OpenMMLab stacks is installed and recent enough."""

import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from packaging.version import Version

# The oldest releases whose interfaces this package uses. Each library is published under several
# names (by OpenMMLab, by its maintained fork) that all install the same import name.
REQUIRED = {
    'mmengine': ('0.10.0', ('onedl-mmengine', 'mmengine')),
    'mmcv': ('2.0.1', ('onedl-mmcv', 'mmcv', 'mmcv-lite')),
    'mmpretrain': ('1.2.0', ('onedl-mmpretrain', 'mmpretrain')),
}


def check_stack() -> None:
    """Raise ImportError with every library that is missing or too old, and how to install it.

    mmengine hides an ImportError when it looks up a type of ours, so the message is also a warning.
    """
    problems = []
    for library, (minimum, distributions) in REQUIRED.items():
        found = installed_version(distributions)
        if found is None and find_spec(library) is None:
            problems.append(f'{library} is not installed')
        elif found is not None and Version(found) < Version(minimum):
            problems.append(f'{library} is {found}, at least {minimum} is needed')
    if problems:
        message = (
            f'mmconvnext cannot run: {"; ".join(problems)}. In a fresh environment, install one of the two '
            'stacks: `pip install "mmconvnext[maintained]"` or `pip install "mmconvnext[original]"`. Where '
            'OpenMMLab packages are installed already, add or update what is named, from the same stack.'
        )
        warnings.warn(message, stacklevel=2)
        raise ImportError(message)


def installed_version(distributions: tuple[str, ...]) -> str | None:
    """Return the version of the first distribution that is installed, without importing it, or None."""
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            pass
    return None
