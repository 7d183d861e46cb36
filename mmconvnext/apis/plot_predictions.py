"""Test images with what a checkpoint takes them for."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dataset import default_collate

from ..errors import UserError
from ..reports.figures import check_figure_file, save_figure
from ..reports.pictures import rgb_of
from ..text import printable
from . import build_runner, load_config


def plot_predictions(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    *,
    count: int = 40,
    cfg_options: dict | None = None,
    trust_checkpoint: bool = False,
) -> None:
    """Draw a grid of test images, each with predicted class and score; mistakes in red.

    Args:
        config: path or name, see ``load_config``.
        checkpoint: weights in any format, or the name of a checkpoint of the zoo.
        out: image file.
        count: how many images, spread evenly over the test set.
        cfg_options: dotted key to value.
        trust_checkpoint: unpickle whatever the checkpoint holds, which runs any code in it.
    """
    check_figure_file(out)
    cfg = load_config(config, cfg_options)
    if count < 1:
        raise UserError(f'--count is {count}; it takes at least one image to draw')
    with TemporaryDirectory() as logs:  # the Runner insists on a log; this one tells nothing
        cfg.update(log_level='WARNING', work_dir=logs, load_from=str(checkpoint), resume=False)
        runner = build_runner(cfg, ('test_dataloader',), trust_checkpoint=trust_checkpoint)
        runner.load_or_resume()
    dataset = runner.test_dataloader.dataset
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    samples = [dataset[i] for i in chosen]
    runner.model.eval()
    with torch.no_grad():
        predictions = runner.model.test_step(default_collate(samples))
    draw_grid(
        images=[rgb_of(sample['inputs']) for sample in samples],
        predictions=predictions,
        classes=dataset.metainfo.get('classes'),
        out=out,
    )
    print(f'Wrote {out}')


def draw_grid(
    images: list[np.ndarray], predictions: list, classes: tuple[str, ...] | None, out: str | Path
) -> None:
    columns = min(10, len(images))
    names = classes and [printable(str(name)) for name in classes]
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.25 * columns, 1.5 * rows), layout='constrained')
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for cell, image, prediction in zip(cells, images, predictions, strict=False):  # the last row may be short
        label, score = int(prediction.pred_label), float(prediction.pred_score.max())
        truth = int(prediction.gt_label) if 'gt_label' in prediction else label
        name = names[label] if names else str(label)
        cell.imshow(image)
        cell.set_title(
            f'{name}  {score:.0%}' + ('' if label == truth else f'\nis {names[truth] if names else truth}'),
            fontsize=9,
            color='black' if label == truth else 'red',
        )
    for cell in figure.axes:
        cell.axis('off')
    save_figure(figure, out, dpi=120)
