"""Show images of a dataset before and after augmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.registry import BATCH_AUGMENTS

from ..config.data_root import use_data_root
from ..config.inner_datasets import inner_settings
from ..config.libraries import LIBRARIES
from ..datasets.replay import Draw, Replayed, draws_put_back, seed_draws
from ..errors import UserError, check_counts
from ..files import check_new_file
from ..images.reader import ImageReader
from ..inference.inputs import read_bytes
from ..reports.browser import Mix, Sample, save_browser
from ..reports.pictures import displayed, rgb_of
from ..text import one_line
from ..training.augmenting import keep_augmentation
from ..training.data_checks import check_data_roots
from ..training.datasets import SHARDS, open_dataset
from ..zoo.names import load_config

EPOCHS = 5  # number of epochs whose augmentations of an image are shown


def browse_dataset(
    config: str | Path,
    out: str | Path,
    *,
    split: str = 'train',
    number: int = 12,
    data_root: str | None = None,
    cfg_options: dict | None = None,
) -> None:
    """Write an HTML page with images of a dataset before and after augmentation.

    Training images are augmented as in the first epochs of a run with the seed of the config.

    Args:
        config: see ``load_config``.
        out: HTML file.
        split: ``train``, ``val`` or ``test``.
        number: number of images, evenly spaced in the dataset.
        data_root: folder of the data; None: that of the config.
        cfg_options: values that override the config, by dotted key.

    Raises:
        UserError: the config, the data or an argument has a mistake.
    """
    check_new_file(out, '.html')
    check_counts(number=number)
    cfg, field = load_config(config, cfg_options), f'{split}_dataloader'
    check_browsable(cfg, field, config)
    if data_root is not None:
        use_data_root(cfg, data_root)
    check_data_roots(cfg, (field,))
    keep_augmentation(cfg[field])
    dataset = open_dataset(cfg, field)
    names = dataset.metainfo.get('classes')
    seed = cfg.get('randomness', {}).get('seed') or 0
    draws = Replayed(dataset, seed)
    chosen = np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int).tolist()
    training = split == 'train'
    samples = [look_at(dataset, draws, index, names, epochs=EPOCHS if training else 1) for index in chosen]
    mixes = mixed_batches(cfg, draws, chosen, samples, names) if training else []
    about = dict(title=f'{Path(config).stem}: {split}', total=len(dataset), names=names)
    save_browser(samples, mixes, out, **about, seed=seed if training else None)
    print(f'Wrote {out}: {len(samples)} of {len(dataset):,} images')


def check_browsable(cfg: Config, field: str, config: str | Path) -> None:
    if cfg.get(field) is None:
        raise UserError(f'{config} has no {field}; choose another --split')
    if cfg.get('default_scope') in LIBRARIES:
        raise UserError(f'{config} is for {cfg.default_scope}, whose own tools show its data')
    if any(settings.type == SHARDS for settings in inner_settings(cfg[field].dataset)):
        raise UserError(f'{field}.dataset reads shards in their order; browse the folder they were made of')


def look_at(
    dataset: BaseDataset, draws: Replayed, index: int, names: Sequence[str] | None, epochs: int
) -> Sample:
    """Return an image before and after augmentation, or the reason why it cannot be read."""
    info = dataset.get_data_info(index)
    path, label = info.get('img_path'), info.get('gt_label')
    name = str(names[label]) if names and isinstance(label, int) else str(label)
    try:
        original = ImageReader('unchanged').from_bytes(read_bytes(path)) if path else info['img']
        drawn = [rgb_of(draws[Draw(index, epoch)]['inputs']) for epoch in range(epochs)]
    except Exception as error:  # decoders and transforms raise any exception, which the page shows
        return Sample(path, name, error=one_line(error))
    return Sample(path, name, displayed(original), drawn)


def mixed_batches(
    cfg: Config, draws: Replayed, chosen: list[int], samples: list[Sample], names: Sequence[str] | None
) -> list[Mix]:
    """Return the first images as a batch, with each batch augmentation of the model."""
    augments = (cfg.model.get('train_cfg') or {}).get('augments')
    if not augments:
        return []
    packed = [
        draws[Draw(index, 0)] for index, sample in zip(chosen, samples, strict=True) if sample.error is None
    ]
    labels = [one['data_samples'].gt_label for one in packed]
    one_label_each = all(label.numel() == 1 for label in labels)
    if not packed or not one_label_each or len({one['inputs'].shape for one in packed}) > 1:
        return []
    images = torch.stack([one['inputs'] for one in packed]).float()
    names = names or range(max(map(int, labels)) + 1)
    scores = torch.nn.functional.one_hot(torch.cat(labels), len(names)).float()
    mixes = []
    for number, augment in enumerate([augments] if isinstance(augments, dict) else augments):
        with draws_put_back():
            seed_draws(draws.seed, 0, number)
            inputs, mixed = BATCH_AUGMENTS.build(augment)(images.clone(), scores)
        captions = [
            [
                (str(names[label]), float(row[label]))
                for label in row.argsort(descending=True)
                if row[label] > 0
            ]
            for row in mixed
        ]
        mixes.append(Mix(augment['type'], [rgb_of(one) for one in inputs], captions))
    return mixes
