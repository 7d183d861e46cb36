"""Configs for checkpoints that have no recipe: enough to build, test and infer."""

from mmengine.config import Config, ConfigDict

from ..config.files import read_config
from ..images.preprocessing import Preprocessing
from ..models.network import Network
from ..paths import CONFIGS
from .entries import Entry


def config_of(entry: Entry) -> Config:
    """A config that tests a published checkpoint with its own preprocessing, on ImageNet's folders."""
    if entry.preprocessing is not None:
        return config_of_network(entry.network, entry.preprocessing)
    return read_config(entry.root / entry.config)


def config_of_network(network: Network, preprocessing: Preprocessing) -> Config:
    """Make a config that tests a network with the batch size and the metric of our ImageNet configs."""
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
