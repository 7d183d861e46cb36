#!/usr/bin/env python
"""Compare how many training images per second one core prepares with our, mmpretrain's and timm's code."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmpretrain import __version__ as mmpretrain_version
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from timing import append_rows, check_rounds, conditions_on, results_file, speed, time_interleaved

from mmconvnext.apis import load_config
from mmconvnext.command_line import run_tool
from mmconvnext.errors import UserError
from mmconvnext.registry import MODELS, default_scope
from mmconvnext.training.augmenting import augment_batches

RESULTS = Path(__file__).parent / 'results/data_pipeline.jsonl'
HEIGHT, WIDTH, QUALITY = 375, 500, 90  # a common size in ImageNet
IMAGES = 32
BATCH = 4  # repeats of the 32 images, for the recipe's batch size of 128
OURS = 'mmconvnext'
ON_DEVICE = f'{OURS} with --augment-on-device'


def mmpretrain_steps(mean: list[float], std: list[float]) -> list[dict]:
    """Return the official augmentation with mmpretrain's transforms, as in its configs of ConvNeXt.

    Args:
        mean: mean of the BGR channels.
        std: standard deviation of the BGR channels.
    """
    return [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(
            type='RandAugment',
            policies='timm_increasing',
            num_policies=2,
            magnitude_level=9,
            magnitude_std=0.5,
            total_level=10,
            hparams=dict(interpolation='bicubic', pad_val=[round(value) for value in mean]),
        ),
        dict(
            type='RandomErasing',
            mode='rand',
            erase_prob=0.25,
            min_area_ratio=0.02,
            max_area_ratio=1 / 3,
            fill_color=mean,
            fill_std=std,
        ),
        dict(type='PackInputs'),
    ]


def pipelines() -> dict[str, Callable[[str], torch.Tensor | np.ndarray]]:
    """Return the pipelines by name, from a path to an image (3, 224, 224), and their common first step."""
    cfg = recipe()
    return {
        OURS: images_of(cfg.train_dataloader.dataset.pipeline),
        ON_DEVICE: images_of(recipe(on_device=True).train_dataloader.dataset.pipeline),
        'mmpretrain': images_of(mmpretrain_steps(cfg.grey, cfg.noise)),
        'timm': timm_pipeline(use_prefetcher=False),
        # With prefetching, timm's loader does this on the GPU.
        'timm without erasing and normalising': timm_pipeline(use_prefetcher=True),
        'decoding alone': cv2.imread,
    }


def recipe(*, on_device: bool = False) -> Config:
    cfg = load_config('convnext-tiny_32xb128_in1k')
    if on_device:
        augment_batches(cfg)
    return cfg


def samples_of(steps: list[dict]) -> Callable[[str], dict]:
    with default_scope('mmpretrain'):
        transforms = Compose([TRANSFORMS.build(step) for step in steps])
    return lambda path: transforms(dict(img_path=path, gt_label=0, sample_idx=0))


def images_of(steps: list[dict]) -> Callable[[str], torch.Tensor]:
    samples = samples_of(steps)
    return lambda path: samples(path)['inputs']


def preprocessing(cfg: Config, paths: list[str], device: torch.device) -> Callable[[], dict]:
    """Return a function that preprocesses one batch of a worker for the network."""
    with default_scope('mmpretrain'):
        preprocessor = MODELS.build(dict(type='ClsDataPreprocessor') | cfg.data_preprocessor).to(device)
    batch = default_collate(list(map(samples_of(cfg.train_dataloader.dataset.pipeline), paths * BATCH)))
    return lambda: preprocessor(batch, training=True)


def timm_pipeline(*, use_prefetcher: bool) -> Callable[[str], torch.Tensor]:
    """Return timm's pipeline with the settings of the official datasets.py."""
    import timm  # only this tool needs timm

    transform = timm.data.create_transform(
        224,
        is_training=True,
        use_prefetcher=use_prefetcher,
        auto_augment='rand-m9-mstd0.5-inc1',
        interpolation='bicubic',
        re_prob=0.25,
        re_mode='pixel',
        re_count=1,
    )

    def run(path: str) -> torch.Tensor:
        while True:
            try:
                return transform(Image.open(path).convert('RGB'))
            except ValueError as error:  # one image in 600
                if 'bits must be between' not in str(error):  # Pillow 13 does not posterize to 0 bits
                    raise

    return run


def compare_pipelines(*, rounds: int = 15, out: str | Path | None = None) -> None:
    """Measure our training pipeline and those of peers on one thread in alternation; print and append rows.

    Also measures the data preprocessor with and without --augment-on-device, on the GPU if there is one.

    Args:
        rounds: timed rounds per pipeline, at least 2.
        out: file of JSON lines to append to; default: that of this repository.

    Raises:
        UserError: too few rounds, or no timm.
    """
    if find_spec('timm') is None:
        raise UserError('timm, one of the contenders, is not installed: pip install timm')
    check_rounds(rounds)
    out = results_file(out, RESULTS)
    with TemporaryDirectory() as folder, one_thread():
        paths = make_images(Path(folder))
        device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        cases = {('worker', name): over(pipeline, paths) for name, pipeline in pipelines().items()}
        for name in (OURS, ON_DEVICE):
            cases['device', name] = preprocessing(recipe(on_device=name == ON_DEVICE), paths, device)
        seconds = time_interleaved(cases, rounds)
        versions = dict(timm=version('timm'), mmpretrain=mmpretrain_version, opencv=cv2.__version__)
        conditions = {
            'worker': conditions_on(torch.device('cpu')) | versions,
            'device': conditions_on(device) | versions,
        }
        kilobytes = round(sum(Path(path).stat().st_size for path in paths) / IMAGES / 1000)
    rows = [
        dict(
            contender=name,
            part=part,
            height=HEIGHT,
            width=WIDTH,
            kilobytes=kilobytes,
            **speed(times, IMAGES * (BATCH if part == 'device' else 1)),
            rounds=rounds,
            conditions=conditions[part],
        )
        for (part, name), times in seconds.items()
    ]
    show(rows)
    append_rows(rows, out)
    print(f'Appended to {out}')


@contextmanager
def one_thread() -> Iterator[None]:
    """Use a single thread, like a worker of a data loader."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1), cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0]), cv2.setNumThreads(threads[1])


def make_images(folder: Path) -> list[str]:
    """Write JPEG files with the spectrum of photographs and about the file size of those in ImageNet."""
    draw = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # zero mean

    def clouds() -> np.ndarray:
        # Amplitudes fall with about 1 / f: Field 1987, "Relations between the statistics of natural images".
        noise = np.fft.rfft2(draw.standard_normal((HEIGHT, WIDTH))) / frequency**1.1
        grey = np.fft.irfft2(noise, (HEIGHT, WIDTH))
        return grey / grey.std()

    paths = [str(folder / f'{number}.jpg') for number in range(IMAGES)]
    for path in paths:
        light = clouds()
        image = np.stack([128 + 50 * light + 20 * clouds() for _ in range(3)], axis=-1)
        cv2.imwrite(path, image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return paths


def over(pipeline: Callable, paths: list[str]) -> Callable[[], None]:
    def run() -> None:
        for path in paths:
            pipeline(path)

    return run


def show(rows: list[dict]) -> None:
    """Print tables with our speed relative to each peer."""
    titles = {
        'worker': 'A core makes images',
        'device': f'{rows[-1]["conditions"]["device"]} preprocesses them',
    }
    for part, title in titles.items():
        table = Table(box=box.SIMPLE_HEAD)
        for column in (title, 'images/s', 'quartiles', 'ours is'):
            table.add_column(column, justify='left' if column == title else 'right')
        ours, *_ = shown = [row for row in rows if row['part'] == part]
        for row in shown:
            speed = row['images_per_second']
            quartiles = f'{row["lower_quartile"]:.4g}-{row["upper_quartile"]:.4g}'
            multiple = ours['images_per_second'] / speed
            table.add_row(row['contender'], f'{speed:.4g}', quartiles, f'{multiple:.2f} x')
        Console(width=100).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--rounds', type=int, default=15, help='timed rounds per pipeline; the median is reported'
    )
    parser.add_argument(
        '--out', metavar='FILE', help='file of JSON lines to append to; default that of this repository'
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(compare_pipelines, parse_args())
