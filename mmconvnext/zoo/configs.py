"""From a name to a checked Config; checkpoints that have no recipe get one that tests and infers."""

import os
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..config.files import read_config
from ..config.loading import check_config, config_file, recipes
from ..errors import UserError, did_you_mean
from ..files import check_regular
from ..images.preprocessing import Preprocessing
from ..models.network import Network
from ..paths import CONFIGS
from .entries import Entry, zoo


def load_config(
    name: str | Path, cfg_options: dict | None = None, *, distributed: str | None = None
) -> Config:
    """Load the config of a file, a recipe or a checkpoint of the zoo, with overrides.

    Args:
        name: a path, or a config of this package, which needs no checkout: its bare name
            ``convnext-tiny_32xb128_in1k`` or its path from ``configs`` on; or the name of a
            checkpoint, whose config can be tested but not trained.
        cfg_options, distributed: see ``check_config``.

    Raises:
        UserError: no such config, or what ``check_config`` finds.
    """
    return check_config(find_config(name), str(name), cfg_options, distributed=distributed)


def find_config(name: str | Path) -> Config:
    """Read the config of a path, of a recipe, or of a checkpoint of the zoo."""
    file = config_file(name)
    if file is not None:
        return read_config(file)
    if str(name) in zoo():
        return config_of(zoo()[str(name)])
    if os.path.exists(name):  # noqa: PTH110, a name that no file can have is not one
        check_regular(Path(name))
    stem = Path(name).name.removesuffix('.py')
    raise UserError(f'config {name} does not exist{did_you_mean(stem, [*recipes(), *zoo()])}')


def config_of(entry: Entry) -> Config:
    """A config that tests a published checkpoint with its own preprocessing, on ImageNet's folders."""
    if entry.preprocessing is not None:
        return config_of_network(entry.network, entry.preprocessing)
    return read_config(entry.root / entry.config)


def config_of_network(network: Network, preprocessing: Preprocessing) -> Config:
    """The same for any network; the batch size and the metric are those of our ImageNet configs."""
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
