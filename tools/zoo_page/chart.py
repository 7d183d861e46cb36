"""Plot the accuracy of the published classifiers against their cost."""

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from measured import read_results
from page import CHART

from mmconvnext.reports.figures import check_figure_file, save_figure
from mmconvnext.zoo.entries import Entry, imagenet_classifiers, zoo

# Colors of Okabe and Ito, which color-blind people can distinguish, and a marker for each family.
STYLES = {
    'ConvNeXt V2: FCMAE + ImageNet-22k': dict(color='#0072B2', marker='^'),
    'ConvNeXt V2: FCMAE': dict(color='#56B4E9', marker='^'),
    'ConvNeXt V2: SparK': dict(color='#009E73', marker='^'),
    'ConvNeXt: CLIP': dict(color='#CC79A7', marker='o'),
    'ConvNeXt: ImageNet-12k': dict(color='#D55E00', marker='o'),
    'ConvNeXt: ImageNet-22k': dict(color='#E69F00', marker='o'),
    'ConvNeXt: no pre-training': dict(color='#000000', marker='o'),
    'ConvNeXt isotropic: no pre-training': dict(color='#888888', marker='s'),
}
OTHER_STYLE = dict(color='#888888', marker='x')
# Metadata key in the PNG for the fingerprint of its data.
KEY = 'Source'


def plot_accuracy(out: str | Path | None = None) -> None:
    """Plot published top-1 accuracies against MACs and against measured images per second.

    Args:
        out: image file; default: docs/accuracy.png of the repository.
    """
    out = CHART if out is None else Path(out)
    check_figure_file(out)
    conditions, measured = read_results()
    entries = drawn(zoo().values())
    figure = draw(entries, conditions, measured)
    save_figure(figure, out, dpi=120, metadata={KEY: fingerprint(entries, measured)})
    print(f'Wrote {out}')


def drawn(entries: Iterable[Entry]) -> list[Entry]:
    """Return the ImageNet-1k classifiers with a named size; timm's others are for tests."""
    classifiers = [entry for entry in imagenet_classifiers(entries) if entry.top1 is not None]
    return [entry for entry in classifiers if isinstance(entry.network.backbone['arch'], str)]


def fingerprint(entries: Iterable[Entry], measured: dict[tuple[str, int], dict]) -> str:
    """Return a hash of everything that the picture shows."""
    points = sorted((label_of(e), e.architecture, e.resolution, e.macs, e.top1) for e in entries)
    return sha256(json.dumps([points, list(measured.values())]).encode()).hexdigest()


def draw(entries: list[Entry], conditions: dict, measured: dict[tuple[str, int], dict]) -> Figure:
    """Draw the picture from ``drawn`` entries and the results of ``read_results``."""
    figure = Figure(figsize=(13, 6.2), layout='constrained')
    by_macs, by_time = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    plot(by_macs, entries, lambda entry: entry.macs / 1e9)
    by_macs.set(title='Accuracy against computation', xlabel='GMACs per image')
    by_macs.set_ylabel('Published ImageNet-1k top-1 accuracy, %')
    by_macs.legend(title='Family: pre-training', loc='lower right')
    speeds = {case: row['images_per_second'] for case, row in measured.items()}
    timed = [entry for entry in entries if (entry.architecture, entry.resolution) in speeds]
    plot(by_time, timed, lambda entry: 1 / speeds[entry.architecture, entry.resolution])
    where = '{device}, threads: {threads}, {dtype}'.format_map(conditions) if timed else 'none was measured'
    by_time.set(title='Accuracy against time', xlabel=f'images/s, faster to the left ({where})')
    by_time.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f'{1 / seconds:g}'))
    return figure


def group(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Group by family and pretraining, and keep the most accurate weights of each network and resolution."""
    series = {label: {} for label in STYLES}
    for entry in sorted(entries, key=lambda entry: entry.top1):
        series.setdefault(label_of(entry), {})[entry.architecture, entry.resolution] = entry
    return {label: list(best.values()) for label, best in series.items() if best}


def label_of(entry: Entry) -> str:
    isotropic = str(entry.network.backbone['arch']).startswith('isotropic')
    pretraining = entry.pretraining or 'no pre-training'
    if pretraining.startswith('CLIP'):  # followed by its data, and sometimes ImageNet-12k
        pretraining = 'CLIP'
    return f'{entry.collection}{" isotropic" * isotropic}: {pretraining.replace(", ", " + ")}'


def plot(axes: Axes, entries: list[Entry], cost: Callable[[Entry], float]) -> None:
    """Draw a marker for each entry, and a line through the Pareto front of each series."""
    for label, members in group(entries).items():
        style = STYLES.get(label, OTHER_STYLE)
        axes.scatter([cost(e) for e in members], [e.top1 for e in members], s=22, label=label, **style)
        line = front(members, cost)
        axes.plot([cost(e) for e in line], [e.top1 for e in line], color=style['color'], linewidth=1.2)
    best = front(entries, cost)
    names = {}
    for entry in (*best, *sorted(entries, key=cost)):
        names.setdefault(entry.network.backbone['arch'], entry)
    for arch, entry in names.items():
        place = dict(xytext=(-4, 5), ha='right') if entry in best else dict(xytext=(4, -11))
        name = arch.removeprefix('isotropic-')
        text = axes.annotate(name, (cost(entry), entry.top1), textcoords='offset points', fontsize=9, **place)
        text.set_path_effects([withStroke(linewidth=2, foreground='white')])  # lines may pass below
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)


def front(entries: Iterable[Entry], cost: Callable[[Entry], float]) -> list[Entry]:
    """Return the entries that are more accurate than all cheaper ones, sorted by cost."""
    found = []
    for entry in sorted(entries, key=lambda entry: (cost(entry), -entry.top1)):
        if not found or entry.top1 > found[-1].top1:
            found.append(entry)
    return found
