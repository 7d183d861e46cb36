"""Write an HTML page with images of a dataset before and after augmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .page import escaped, figure, percent, section, write_page


class Sample(NamedTuple):
    """
    Attributes:
        path: path of the image; None if it is not a file.
        name: class name.
        original: image (H, W, 3), uint8 in RGB.
        draws: augmented images of any size, one per epoch.
        error: reason why there are no images.
    """

    path: str | None
    name: str
    original: np.ndarray | None = None
    draws: Sequence[np.ndarray] = ()
    error: str | None = None


class Mix(NamedTuple):
    """A batch after a batch augmentation: its images (H, W, 3), and classes and fractions of each."""

    name: str
    images: list[np.ndarray]
    labels: list[list[tuple[str, float]]]


def save_browser(
    samples: Sequence[Sample],
    mixes: Sequence[Mix],
    out: str | Path,
    *,
    title: str,
    total: int,
    seed: int | None,
    names: Sequence[str] | None,
) -> None:
    """Write the page.

    Args:
        samples: samples to show.
        mixes: batches of their first augmented images.
        out: HTML file to write.
        title: name of the dataset.
        total: number of images in the dataset.
        seed: seed of the augmentation; None without random augmentation.
        names: class names, if known.
    """
    classes = f' in {len(names)} classes' if names else ''
    anew = (
        ''
        if seed is None
        else f' Augmentation differs between epochs; shown is that of a run with seed {seed}.'
    )
    head = (
        f'<h1>{escaped(title)}</h1>\n<p class="faint">{len(samples)} of {total:,} images{classes}, evenly '
        f'spaced. Each is shown as stored, then as the model sees it, without normalization.{anew}</p>'
    )
    write_page(Path(out), title, '\n'.join([head, *map(row_of, samples), *map(section_of, mixes)]))


def row_of(sample: Sample) -> str:
    path = f' <span class="faint">{escaped(sample.path)}</span>' if sample.path else ''
    if sample.error is not None:
        cells = [figure(None, f'<b class="wrong">cannot be read</b><small>{escaped(sample.error)}</small>')]
    else:
        height, width = sample.original.shape[:2]
        cells = [figure(sample.original, f'as stored<small>{width} × {height}</small>')]
        for epoch, image in enumerate(sample.draws, 1):
            seen = 'as the model sees it' if len(sample.draws) == 1 else f'epoch {epoch}'
            cells.append(figure(image, f'{seen}<small>{image.shape[1]} × {image.shape[0]}</small>'))
    return f'<h3>{escaped(sample.name)}{path}</h3>\n<div class="gallery draws">{"".join(cells)}</div>'


def section_of(mix: Mix) -> str:
    cells = [
        figure(image, '<br>'.join(f'{percent(part)} <b>{escaped(name)}</b>' for name, part in labels))
        for image, labels in zip(mix.images, mix.labels, strict=True)
    ]
    return section(
        escaped(mix.name),
        'The images above in epoch 1, as one batch: what is mixed, and the labels it is trained with.',
        f'<div class="gallery">{"".join(cells)}</div>',
    )
