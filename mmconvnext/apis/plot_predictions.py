"""Draw test images with their predictions."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dataset import default_collate
from PIL import Image

from ..errors import UserError
from ..reports.annotated import annotate_sample
from ..reports.figures import check_figure_file, save_figure
from . import build_runner, load_config

COLUMNS, GAP, DPI = 8, 8, 100
SIDE = 192  # pixels of an image


def plot_predictions(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    *,
    count: int = 40,
    cfg_options: dict | None = None,
    trust_checkpoint: bool = False,
) -> None:
    """Draw a grid of test images with predicted class and score, and mistakes in red.

    Args:
        config: path or name of a config, see ``load_config``.
        checkpoint: weights in any format, or the name of a published checkpoint.
        out: image file to write.
        count: number of images, evenly spaced in the test data.
        cfg_options: values that override the config, by dotted key.
        trust_checkpoint: whether to unpickle the checkpoint even if that runs code in it.
    """
    check_figure_file(out)
    cfg = load_config(config, cfg_options)
    if count < 1:
        raise UserError(f'--count is {count}; it takes at least one image to draw')
    with TemporaryDirectory() as logs:  # the Runner always writes a log, which has no use here
        cfg.update(log_level='WARNING', work_dir=logs, load_from=str(checkpoint), resume=False)
        runner = build_runner(cfg, ('test_dataloader',), trust_checkpoint=trust_checkpoint)
        with runner.isolated():
            runner.load_or_resume()
            dataset = runner.test_dataloader.dataset
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    samples = [dataset[i] for i in chosen]
    runner.model.eval()
    with torch.no_grad():
        predictions = runner.model.test_step(default_collate(samples))
    classes = dataset.metainfo.get('classes')
    save_grid(
        [
            annotate_sample(sample['inputs'], prediction, classes, topk=1, side=SIDE)
            for sample, prediction in zip(samples, predictions, strict=True)
        ],
        out,
    )
    print(f'Wrote {out}')


def save_grid(pictures: list[Image.Image], out: str | Path) -> None:
    """Write pictures as a grid, in any format of matplotlib."""
    columns = min(COLUMNS, len(pictures))
    width, height = (max(sides) + GAP for sides in zip(*(picture.size for picture in pictures), strict=True))
    grid = Image.new('RGB', (columns * width, -(-len(pictures) // columns) * height), 'white')
    for place, picture in enumerate(pictures):
        grid.paste(picture, (place % columns * width, place // columns * height))
    figure = Figure(figsize=(grid.width / DPI, grid.height / DPI), dpi=DPI)
    figure.figimage(np.asarray(grid))
    save_figure(figure, out)
