"""Draw what a prediction is based on."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..text import shortened
from .figures import save_figure

MAX_NAME_LENGTH = 28  # letters of a class
MAX_PATH_LENGTH = 70
MAX_BARS = 5
WARM, GREY, INK, FAINT = '#c8452d', '#b9c0c8', '#20262e', '#59636e'
# Smaller differences of the probability get no color.
MIN_SCALE = 0.01


class Explanation(NamedTuple):
    """
    Attributes:
        path: name of the image in the picture.
        image: input of the network before normalization, (H, W, 3), uint8 in RGB.
        target: label, name and score of the class that is explained, as of ``rank``.
        ranked: those of the likeliest classes, best first.
        grad_cam: (H, W) from 0 to 1.
        stage: stage of Grad-CAM.
        occlusion: (H, W) from -1 to 1.
        patch: side of the hidden square in pixels.
        stages: feature map of every stage in colors, (h, w, 3) from 0 to 1.
    """

    path: str
    image: np.ndarray
    target: dict
    ranked: list[dict]
    grad_cam: np.ndarray
    stage: int
    occlusion: np.ndarray
    patch: int
    stages: list[np.ndarray]


def save_explanation(explanation: Explanation, out: str | Path) -> None:
    """Draw image, scores, Grad-CAM and occlusion, and below them the feature maps of the stages."""
    figure = Figure(figsize=(12.4, 7.1), layout='constrained')
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, hspace=0.03, wspace=0.02)
    columns = max(4, len(explanation.stages))
    grid = figure.add_gridspec(2, columns)
    image, cam, hidden, scores = (figure.add_subplot(grid[0, i]) for i in range(4))
    height, width = explanation.image.shape[:2]

    draw_image(image, explanation.image)
    set_titles(image, 'As the model sees it', f'{width} × {height} pixels')
    draw_scores(scores, explanation)
    draw_heat(
        cam, explanation.image, explanation.grad_cam, 'inferno', Normalize(0, 1), 'of the strongest evidence'
    )
    set_titles(cam, 'Grad-CAM', f'features of stage {explanation.stage} that speak for the class')
    scale = max(float(np.abs(explanation.occlusion).max()), MIN_SCALE)
    draw_heat(
        hidden,
        explanation.image,
        explanation.occlusion,
        'RdBu_r',
        Normalize(-scale, scale),
        'drop of the score',
    )
    set_titles(
        hidden, 'Occlusion', f'score lost with {explanation.patch} × {explanation.patch} pixels hidden'
    )
    for number, stage in enumerate(explanation.stages):
        axes = figure.add_subplot(grid[1, number])
        draw_image(axes, stage)
        set_titles(axes, f'Stage {number}', f'{stage.shape[1]} × {stage.shape[0]} features')
    path = shortened(explanation.path, MAX_PATH_LENGTH)
    target = shortened(explanation.target['class'], MAX_NAME_LENGTH)
    figure.suptitle(
        f'{path}   ·   why {target}?',
        **dict(x=0.025, ha='left', fontsize=14, fontweight='bold', color=INK),
    )
    figure.supxlabel(
        'Stages: the first three principal components of the features in red, green and blue; '
        'similar colors are similar features',
        **dict(x=0.025, ha='left', fontsize=9, color=FAINT),
    )
    save_figure(figure, out, dpi=110)


def draw_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, interpolation='nearest')
    frame(axes)


def draw_heat(
    axes: Axes, image: np.ndarray, heat: np.ndarray, cmap: str, norm: Normalize, label: str
) -> None:
    """Draw heat over the gray image, more opaque for larger values, with a color scale below."""
    grey = 90 + 0.6 * (image @ np.array([0.299, 0.587, 0.114]))  # pale, so that dark colors are visible
    axes.imshow(grey, cmap='gray', vmin=0, vmax=255, interpolation='nearest')
    opacity = 0.25 + 0.6 * np.abs(heat) / max(abs(norm.vmin), abs(norm.vmax))
    axes.imshow(heat, cmap=cmap, norm=norm, alpha=opacity.clip(0, 1), interpolation='bilinear')
    frame(axes)
    bar = axes.figure.colorbar(
        ScalarMappable(norm, cmap), ax=axes, location='bottom', shrink=0.9, aspect=28, pad=0.03
    )
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(4)
    bar.formatter = PercentFormatter(1)
    bar.ax.tick_params(labelsize=8, length=2, color=GREY)
    bar.set_label(label, fontsize=9, color=FAINT)


def draw_scores(axes: Axes, explanation: Explanation) -> None:
    """Draw a bar for each of the most likely classes and for the explained one."""
    bars = explanation.ranked[:MAX_BARS]
    if explanation.target not in bars:
        bars = [*bars[: MAX_BARS - 1], explanation.target]
    for row, each in enumerate(bars):
        marked = each == explanation.target
        axes.barh(row, 1, height=0.34, color='#eef1f4')
        axes.barh(row, each['score'], height=0.34, color=WARM if marked else GREY)
        text = dict(va='bottom', fontsize=10, color=INK, fontweight='bold' if marked else 'normal')
        axes.text(0, row - 0.24, shortened(each['class'], MAX_NAME_LENGTH), ha='left', **text)
        axes.text(1, row - 0.24, f'{each["score"]:.1%}', ha='right', **text)
    axes.set(xlim=(0, 1), ylim=(MAX_BARS - 0.4, -0.75), xticks=[], yticks=[], box_aspect=1)
    axes.spines[:].set_visible(False)
    set_titles(axes, 'Scores', 'explained class in red')


def set_titles(axes: Axes, title: str, detail: str) -> None:
    axes.set_title(title, loc='left', fontsize=12, fontweight='bold', color=INK, pad=20)
    axes.text(0, 1.03, detail, transform=axes.transAxes, fontsize=9, color=FAINT, va='bottom')


def frame(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(GREY)
