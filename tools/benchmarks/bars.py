"""Draw a bar chart of measured speeds."""

from pathlib import Path

from contenders import Condition
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colors of Okabe and Ito, which color-blind people can distinguish.
OURS, THEIRS = '#0072B2', '#BBBBBB'
INCHES_A_BAR, INCHES_A_TITLE, WIDTH = 0.28, 0.8, 8


def plot_bars(measured: list[tuple[Condition, list[dict]]], out: str | Path) -> None:
    """Draw images per second of each contender with quartiles, one chart per condition.

    Args:
        measured: rows of ``measure`` under each condition.
        out: image file.
    """
    heights = [len(rows) * INCHES_A_BAR + INCHES_A_TITLE for _, rows in measured]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), dpi=120, layout='constrained')
    charts = figure.subplots(len(measured), height_ratios=heights, squeeze=False)[:, 0]
    for chart, (condition, rows) in zip(charts, measured, strict=True):
        draw(chart, condition, rows)
    conditions = measured[0][1][0]['conditions']
    figure.supxlabel(
        f'images per second; {conditions["device"]}, {conditions["instructions"] or ""}, '
        f'{conditions["threads"]} threads, torch {conditions["torch"]}',
        fontsize=8,
    )
    figure.savefig(out)


def draw(chart: Axes, condition: Condition, rows: list[dict]) -> None:
    rows = sorted(rows, key=lambda row: row['images_per_second'])
    speeds = [row['images_per_second'] for row in rows]
    spread = [
        [row['images_per_second'] - row['lower_quartile'] for row in rows],
        [row['upper_quartile'] - row['images_per_second'] for row in rows],
    ]
    colours = [OURS if row['contender'].startswith('mmconvnext') else THEIRS for row in rows]
    names = [row['contender'] for row in rows]
    bars = chart.barh(names, speeds, xerr=spread, color=colours, error_kw=dict(lw=1, capsize=2))
    chart.bar_label(bars, map(label, rows), padding=6, fontsize=8)
    chart.set_title(str(condition), loc='left', fontsize=10)
    chart.set_xlim(0, 1.35 * max(row['upper_quartile'] for row in rows))
    chart.tick_params(labelsize=8)
    chart.spines[['top', 'right']].set_visible(False)


def label(row: dict) -> str:
    speed = f'{row["images_per_second"]:.3g}'
    return speed if row['peak_mib'] is None else f'{speed}, {row["peak_mib"]:,.0f} MiB'
