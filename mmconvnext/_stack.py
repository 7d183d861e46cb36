"""Is one of the two OpenMMLab stacks installed, and recent enough?"""

from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

# The oldest releases whose interfaces this package uses. Each library is published under several
# names (by OpenMMLab, by its maintained fork) that all install the same import name.
REQUIRED = {
    'mmengine': ('0.10.0', ('onedl-mmengine', 'mmengine')),
    'mmcv': ('2.0.1', ('onedl-mmcv', 'mmcv', 'mmcv-lite')),
    'mmpretrain': ('1.2.0', ('onedl-mmpretrain', 'mmpretrain')),
}


def check_stack() -> None:
    """Raise ImportError naming every library that is missing or too old, and the cure."""
    problems = []
    for library, (minimum, distributions) in REQUIRED.items():
        found = installed_version(distributions)
        if found is None:
            problems.append(f'{library} is not installed')
        elif Version(found) < Version(minimum):
            problems.append(f'{library} is {found}, at least {minimum} is needed')
    if problems:
        raise ImportError(
            f'mmconvnext cannot run: {"; ".join(problems)}. Install one of the two stacks: '
            '`pip install "mmconvnext[maintained]"` on a fresh machine, or '
            '`pip install "mmconvnext[original]"` beside existing OpenMMLab packages.'
        )


def installed_version(distributions: tuple[str, ...]) -> str | None:
    """Version of the first distribution found, without importing it; None if there is none."""
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            pass
    return None
