"""Measure what the features of a frozen network are worth."""

import warnings
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from ..config.inner_datasets import inner_settings, pipeline_of
from ..config.pipeline_steps import LOADERS, kind
from ..config.unaugmented import unaugmented_pipeline
from ..datasets.replay import draws_put_back, seed_draws
from ..errors import UserError, check_counts
from ..inference.classifier import check_device
from ..inference.features import extract_features
from ..inference.probing import fit_linear_probe, fit_neighbors
from ..text import counted, listed, printable
from ..training.data_checks import check_data_roots
from ..training.datasets import open_dataset
from ..zoo.models import get_model
from ..zoo.names import Named, find, load_config

SPLITS = 'train_dataloader', 'val_dataloader'


def linear_probe(
    model: str | Path,
    data: str | Path | None = None,
    *,
    checkpoint: str | Path | None = None,
    knn: int | None = None,
    labels_per_class: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    device: str | None = None,
    trust_checkpoint: bool = False,
) -> float:
    """Train a linear classifier on the features of a frozen network, and print its accuracy.

    The features are those of the last stage, averaged over the image, and standardized. Images are not
    augmented.

    Args:
        model: published checkpoint, config or weights, see ``find``; the weights of a config are random
            without ``checkpoint``.
        data: folder of images in the layout of ``ImageFolder``, prepared as the model needs them; or a config
            with training and validation data, prepared as for its validation. None: ``model`` is that config.
        checkpoint: weights for the network of a config, of any training or pre-training.
        knn: number of nearest neighbors that vote instead of a linear classifier.
        labels_per_class: number of training images of each class, chosen by the seed; None: all.
        seed: seed of this choice, of cross-validation and of random weights.
        batch_size: images per forward pass.
        device: default a GPU if there is one.
        trust_checkpoint: whether to unpickle the checkpoint even if that runs code in it.

    Returns:
        Top-1 accuracy on the validation images, from 0 to 1.

    Raises:
        UserError: an argument has a mistake, or validation images cannot be read.
    """
    counts = dict(batch_size=batch_size, knn=knn, labels_per_class=labels_per_class)
    check_counts(**{name: count for name, count in counts.items() if count is not None})
    check_device(device)
    if not 0 <= seed < 2**32:
        raise UserError(f'--seed is {seed}; it should be a whole number from 0 to 4,294,967,295')
    named = find(model)
    cfg = data_config(named if data is None else data)
    network = load_frozen(named, checkpoint, seed, trust_checkpoint)
    network.to(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if cfg is None:
        cfg = folder_config(str(data), network._config)
    training, validation = (open_labeled(cfg, field) for field in SPLITS)
    train_labels, val_labels = labels_of(training), labels_of(validation)
    chosen = choose(train_labels, labels_per_class, seed)
    check_classes(train_labels[chosen], val_labels, training.metainfo.get('classes'))
    options = dict(batch_size=batch_size)
    tested = extract_features(network, validation, range(len(validation)), title='validation', **options)
    if tested.broken:
        raise UserError(
            f'{len(tested.broken)} of {len(validation):,} validation images cannot be read; replace them or '
            f'take them out: {listed(tested.broken)}'
        )
    seen = extract_features(network, training, chosen, title='training', **options)
    if seen.broken:
        warnings.warn(
            f'{len(seen.broken)} of {len(chosen):,} training images cannot be read and are left out: '
            f'{listed(seen.broken)}',
            stacklevel=2,
        )
    if len(np.unique(seen.labels)) < 2:
        raise UserError('the training images that can be read are of fewer than two classes')
    fit, setting = (fit_linear_probe, seed) if knn is None else (fit_neighbors, knn)
    probe = fit(seen.values, seen.labels, setting)
    accuracy = probe.accuracy(tested.values, tested.labels)
    print(
        f'Top-1 {accuracy:.2%} of {counted(len(tested.labels), "validation image")} ({probe.title}, '
        f'{counted(len(seen.labels), "training image")}, {counted(seen.values.shape[1], "feature")})'
    )
    return accuracy


def data_config(data: str | Path | Named) -> Config | None:
    """Return a config with training and validation data, prepared alike; None for a folder.

    Raises:
        UserError: it has no such data, or does not exist.
    """
    if not isinstance(data, Named) and Path(data).expanduser().is_dir():
        return None
    named = find(data, 'data folder or config')
    if named.file is None:
        raise UserError(
            f'{named} has no data to train on: name a folder of images, or a config with training and '
            'validation data, after the model'
        )
    cfg = load_config(named)
    missing = [field for field in SPLITS if cfg.get(field) is None]
    if missing:
        raise UserError(
            f'{named} has no {missing[0]}: name a folder of images, or a config with training and validation '
            'data, after the model'
        )
    check_data_roots(cfg, SPLITS)
    pipeline = pipeline_of(cfg.val_dataloader.dataset)
    for settings in inner_settings(cfg.train_dataloader.dataset):
        settings.pipeline = pipeline
    return cfg


def folder_config(folder: str, cfg: Config) -> Config:
    """Return a config with a folder as data, prepared as the config of a model tells."""
    if cfg.get('test_dataloader'):
        steps = pipeline_of(cfg.test_dataloader.dataset)
    else:
        steps = [step for step in unaugmented_pipeline(cfg) if kind(step) != 'MaskPatches']
    if not any(kind(step) in LOADERS for step in steps):  # its own data needs none
        steps = [dict(type='LoadImageFromFile'), *steps]
    settings = dict(type='mmconvnext.ImageFolder', data_root=folder, pipeline=steps)
    dataloaders = {
        field: dict(dataset=dict(settings, split=field.removesuffix('_dataloader'))) for field in SPLITS
    }
    return Config(dict(dataloaders, default_scope=cfg.get('default_scope', 'mmpretrain')))


def load_frozen(named: Named, checkpoint: str | Path | None, seed: int, trust: bool) -> nn.Module:
    """Build a network with its weights, which are random for a config alone; its head is of no use.

    Raises:
        UserError: the model is a detector or segmenter, or the weights do not fit.
    """
    if named.is_dense:
        raise UserError(f'{named} is a detector or segmenter; choose a classifier or a pre-training')
    has_head = named.weights is None and named.config.model.get('head') is not None
    with draws_put_back():
        seed_draws(seed, 0, 0)
        source = checkpoint or named.entry is not None
        options = dict(head=None) if has_head else {}
        model = get_model(named, source, trust_checkpoint=trust, **options).eval()
    if not source and named.weights is None:
        warnings.warn(f'{named} is a config without weights: the features are random', stacklevel=3)
    if not model.preprocessing_told:
        warnings.warn(
            f'{named} does not tell how its images were prepared; they are taken for those of ImageNet. '
            'If it was trained otherwise, name its config, and these weights with --checkpoint',
            stacklevel=3,
        )
    return model


def open_labeled(cfg: Config, field: str) -> Dataset:
    with draws_put_back():  # datasets may shuffle
        dataset = open_dataset(cfg, field)
    if isinstance(dataset, IterableDataset):
        raise UserError(f'{field}.dataset reads shards in their order; name the folder they were made of')
    return dataset


def labels_of(dataset: Dataset) -> np.ndarray:
    """Return the class number of every image.

    Raises:
        UserError: images have no label, or several.
    """
    labels = [dataset.get_data_info(index).get('gt_label') for index in range(len(dataset))]
    unlike = next((label for label in labels if not isinstance(label, int | np.integer)), 0)
    if not isinstance(unlike, int | np.integer):
        raise UserError(f'an image has the label {unlike}; a probe needs one class number for each image')
    return np.array(labels)


def choose(labels: np.ndarray, per_class: int | None, seed: int) -> np.ndarray:
    """Return the indices of the training images: all, or some of each class."""
    if per_class is None:
        return np.arange(len(labels))
    noise = np.random.default_rng(seed)
    members = [noise.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    counts = np.array([len(each) for each in members])
    if (counts < per_class).any():
        warnings.warn(
            f'{counted(int((counts < per_class).sum()), "class")} of {len(counts)} have fewer than '
            f'{counted(per_class, "training image")}, the smallest {counts.min()}; all of theirs are used',
            stacklevel=3,
        )
    return np.sort(np.concatenate([each[:per_class] for each in members]))


def check_classes(training: np.ndarray, validation: np.ndarray, names: tuple[str, ...] | None) -> None:
    """Raise UserError for a single class, and warn of classes that only one of the splits has."""
    if len(np.unique(training)) < 2:
        raise UserError('all training images are of one class; a probe needs two or more')
    for present, other, what in (
        (validation, training, 'training image, so that its validation images count as wrong'),
        (training, validation, 'validation image, so that the accuracy is that of the others'),
    ):
        missing = np.setdiff1d(present, other)
        if len(missing):
            called = [printable(str(names[label] if names else label)) for label in missing]
            warnings.warn(f'no {what}: {listed(called)}', stacklevel=3)
