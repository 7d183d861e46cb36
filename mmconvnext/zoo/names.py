"""What does a name stand for? The one place that tells published names, configs and weights apart."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mmengine.config import Config

from ..config.data import SUFFIXES
from ..config.files import read_config
from ..config.libraries import LIBRARIES
from ..config.loading import check_config, recipes
from ..errors import UserError, did_you_mean
from ..files import check_regular
from .configs import config_of
from .entries import DENSE_TASKS, Entry, get_entry, zoo

SCHEME = 'mmconvnext://'
URL = ('http://', 'https://')
CONFIG_SUFFIXES = ('.py', *SUFFIXES)


@dataclass(frozen=True)
class Named:
    """What a name stands for: a published checkpoint, a config or weights.

    Attributes:
        name: what messages call it.
        entry: the published checkpoint.
        file: the config; a recipe and a checkpoint that it trained may share their name.
        weights: file, folder or URL of the weights.
    """

    name: str
    entry: Entry | None = None
    file: Path | None = None
    weights: str | None = None

    @cached_property
    def config(self) -> Config:
        """The config of a published checkpoint or a file, read once.

        Raises:
            UserError: these are weights, or the file is wrong.
        """
        if self.file is not None:
            return read_config(self.file)
        if self.entry is None:
            raise UserError(f'{self.name} holds weights; name a config or a published checkpoint')
        return config_of(self.entry)

    @property
    def is_dense(self) -> bool:
        """Whether this is a detector or a segmenter, as far as a name or a config shows it."""
        if self.entry is not None:
            return self.entry.task in DENSE_TASKS
        return self.file is not None and self.config.get('default_scope') in LIBRARIES

    def __str__(self) -> str:
        return self.name


def find(name: 'str | Path | Named', what: str = 'model') -> Named:
    """Return what a name stands for. A file goes before a published name or recipe, these before a folder.

    Args:
        name: a published checkpoint, with or without ``mmconvnext://``; a config's path, its bare name or its
            path from ``configs`` on; a file, folder or URL of weights.
        what: what messages call it.

    Raises:
        UserError: there is nothing of this name.
    """
    if isinstance(name, Named):
        return name
    text = str(name)
    path = Path(os.path.expanduser(text))  # noqa: PTH111, Path's raises for users that do not exist
    if text.startswith(SCHEME):
        entry = get_entry(text.removeprefix(SCHEME))
        return Named(entry.name, entry, recipes().get(entry.name))
    if text.startswith(URL):
        return Named(text, weights=text)
    if '://' in text:
        raise UserError(
            f'{what} {text}: only files, http(s) URLs and {SCHEME} names are read; download it and name '
            'the file'
        )
    # Path's methods raise for text that no file can have.
    folder = os.path.isdir(path)  # noqa: PTH112
    if os.path.exists(path) and (not folder or path.suffix in CONFIG_SUFFIXES):  # noqa: PTH110
        check_regular(path)
        return Named(text, file=path) if path.suffix in CONFIG_SUFFIXES else Named(text, weights=str(path))
    entry, stem = zoo().get(text), path.name.removesuffix('.py')
    recipe = recipes().get(stem)
    # A path that leads elsewhere is not taken for a recipe of the same name.
    if recipe is not None and path.parent not in (Path(), Path('configs', recipe.parent.name)):
        recipe = None
    if entry is not None or recipe is not None:
        return Named(text, entry, recipe)
    if folder:
        return Named(text, weights=str(path))
    raise UserError(f'{what} {text} does not exist{did_you_mean(stem, [*recipes(), *zoo()])}')


def load_config(
    name: str | Path | Named, cfg_options: dict | None = None, *, distributed: str | None = None
) -> Config:
    """Load the config of a file, a recipe or a published checkpoint, with overrides.

    Args:
        name: see ``find``. The config of a published checkpoint can be tested but not trained.
        cfg_options, distributed: see ``check_config``.

    Raises:
        UserError: no such config, or what ``check_config`` finds.
    """
    named = find(name, 'config')
    return check_config(named.config, named.name, cfg_options, distributed=distributed)
