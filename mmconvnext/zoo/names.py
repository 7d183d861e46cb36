"""Resolve names of published checkpoints, configs and weights, and load what they stand for."""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmpretrain.models.selfsup import BaseSelfSupervisor

from ..checkpoints.reading import Weights, read_weights
from ..config.data import SUFFIXES
from ..config.files import read_config
from ..config.libraries import LIBRARIES
from ..config.loading import check_config, find_type
from ..errors import UserError, did_you_mean
from ..files import check_regular
from ..images.preprocessing import Preprocessing
from ..models.fitting import no_classifier, title
from ..models.network import Network
from ..paths import CONFIGS
from .entries import DENSE_TASKS, Entry, get_entry, zoo

SCHEME = 'mmconvnext://'
URL = ('http://', 'https://')
CONFIG_SUFFIXES = ('.py', *SUFFIXES)


@dataclass(frozen=True)
class Named:
    """Result of resolving a name: a published checkpoint, a config or weights.

    Attributes:
        name: name in messages.
        entry: published checkpoint.
        file: config file; a recipe and a checkpoint trained with it may have the same name.
        weights: file, folder or URL of the weights.
    """

    name: str
    entry: Entry | None = None
    file: Path | None = None
    weights: str | None = None

    @cached_property
    def config(self) -> Config:
        """Config of a published checkpoint or a file, read once.

        Raises:
            UserError: the name stands for weights, or the config is invalid.
        """
        if self.file is not None:
            return read_config(self.file)
        if self.entry is None:
            raise UserError(f'{self.name} holds weights; name a config or a published checkpoint')
        if self.entry.preprocessing is None:  # a detector or segmenter
            return read_config(self.entry.root / self.entry.config)
        return config_of_network(self.entry.network, self.entry.preprocessing)

    @property
    def is_dense(self) -> bool:
        """Whether the name or the config stands for a detector or segmenter."""
        if self.entry is not None:
            return self.entry.task in DENSE_TASKS
        return self.file is not None and self.config.get('default_scope') in LIBRARIES

    @property
    def is_pretraining(self) -> bool:
        """Whether the config stands for a self-supervised pre-training."""
        if self.file is None or self.is_dense:
            return False
        scope = self.config.get('default_scope', 'mmpretrain')
        model = find_type((self.config.get('model') or {}).get('type'), scope)
        return isinstance(model, type) and issubclass(model, BaseSelfSupervisor)

    def __str__(self) -> str:
        return self.name


def find(name: 'str | Path | Named', what: str = 'model') -> Named:
    """Resolve a name. Files take precedence over published names and recipes, and these over folders.

    Args:
        name: published checkpoint, with or without ``mmconvnext://``; config by path, by name, or by path
            relative to ``configs``; or weights as a file, folder or URL.
        what: kind of object in error messages.

    Raises:
        UserError: the name is unknown.
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
            f'{what} {text}: only files, http(s) URLs and {SCHEME} names are supported; download it and name '
            'the file'
        )
    # Methods of Path raise errors for text that cannot be a path.
    folder = os.path.isdir(path)  # noqa: PTH112
    if os.path.exists(path) and (not folder or path.suffix in CONFIG_SUFFIXES):  # noqa: PTH110
        check_regular(path)
        return Named(text, file=path) if path.suffix in CONFIG_SUFFIXES else Named(text, weights=str(path))
    entry, stem = zoo().get(text), path.name.removesuffix('.py')
    recipe = recipes().get(stem)
    # A path to another folder does not stand for a recipe of the same name.
    if recipe is not None and path.parent not in (Path(), Path('configs', recipe.parent.name)):
        recipe = None
    if entry is not None or recipe is not None:
        return Named(text, entry, recipe)
    if folder:
        return Named(text, weights=str(path))
    raise UserError(f'{what} {text} does not exist{did_you_mean(stem, [*recipes(), *zoo()])}')


def recipes() -> dict[str, Path]:
    """Return the configs of this package by their bare names."""
    return {file.stem: file for file in sorted(CONFIGS.glob('[!_]*/*.py'))}


def load_config(
    name: str | Path | Named, cfg_options: dict | None = None, *, distributed: str | None = None
) -> Config:
    """Load the config of a file, a recipe or a published checkpoint, with overrides.

    Args:
        name: see ``find``. The config of a published checkpoint can be used for tests, but not for training.
        cfg_options, distributed: see ``check_config``.

    Raises:
        UserError: the config is unknown, or ``check_config`` finds a mistake.
    """
    named = find(name, 'config')
    return check_config(named.config, named.name, cfg_options, distributed=distributed)


def check_has_classes(named: Named) -> None:
    """Raise UserError if a config stands for a pre-training, or a published network has no head."""
    if named.entry is not None and named.entry.num_classes is None and not named.is_dense:
        raise no_classifier(named.name, title(named.entry.network))
    if named.is_pretraining:
        raise UserError(
            f'{named} pre-trains a network without labels: it has no classes. Fine-tune its checkpoint with '
            'a classification config of its network: tools/train.py CONFIG --cfg-options load_from=FILE; '
            'then use that config and the checkpoint of that training. For features, name the checkpoint '
            'without a config'
        )


def load_weights(
    source: str | Path | Named,
    source_format: str = 'auto',
    *,
    weights: str | None = None,
    trust: bool = False,
    mmap: bool = False,
) -> Weights:
    """Load the weights of a published checkpoint, a file, a folder or a URL.

    Args:
        source: see ``find``; configs are not allowed.
        source_format, weights, trust, mmap: see ``read_weights``.

    Raises:
        UserError: the source cannot be read, is of no supported format or has no such weights.
    """
    named = find(source, 'checkpoint')
    options = dict(weights=weights, trust=trust, mmap=mmap)
    if named.entry is None:
        if named.weights is None:
            raise UserError(f'{named} is a config and holds no weights; name a checkpoint')
        return read_weights(named.weights, source_format, **options)
    entry = named.entry
    loaded = read_weights(entry.weights, entry.format, **options)
    return replace(
        loaded,
        source=entry.name,
        network=loaded.network or entry.network,
        preprocessing=loaded.preprocessing or entry.preprocessing,
        classes=loaded.classes or entry.class_names,
    )


def config_of_network(network: Network, preprocessing: Preprocessing) -> Config:
    """Return a config that tests a network with the batch size and metrics of our ImageNet configs."""
    cfg = Config.fromfile(CONFIGS / '_base_/default_runtime.py')
    imagenet = Config.fromfile(CONFIGS / '_base_/datasets/imagenet_224.py')
    cfg.model = ConfigDict(network.config())
    cfg.data_preprocessor = ConfigDict(
        preprocessing.data_preprocessor(), num_classes=(network.head or {}).get('num_classes')
    )
    loader = imagenet.test_dataloader
    loader.dataset.pipeline = [
        preprocessing.loader(),
        *preprocessing.pipeline(),
        dict(type='PackInputs'),
    ]
    cfg.test_dataloader, cfg.test_cfg, cfg.test_evaluator = loader, dict(), imagenet.test_evaluator
    return cfg
