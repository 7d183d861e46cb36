"""Cells of the tables in model_zoo.md: how a fact of a published checkpoint is printed."""

from mmconvnext.checkpoints.downloading import promised_hash
from mmconvnext.zoo.entries import Entry

# If a source's count differs by more, both are shown; some sources also count norms and activations.
TOLERANCE = 0.01

NEW_LINE = '<br>'


def small(text: str) -> str:
    return f'{NEW_LINE}<sub>{text}</sub>'


def link(entry: Entry) -> str:
    return f'[`{entry.name}`]({entry.weights})'


def has_hash(entry: Entry) -> bool:
    return promised_hash(entry.weights.rpartition('/')[2]) is not None


def config(entry: Entry) -> str:
    return f'[config]({entry.config})' if entry.config else '–'


def speed(entry: Entry, measured: dict) -> str:
    row = measured.get((entry.architecture, entry.resolution))
    return short(row['images_per_second']) if row else '–'


def short(value: float) -> str:
    """Format a number with about three digits."""
    return f'{value:.{2 if value < 10 else 1 if value < 100 else 0}f}'


def accuracy(percent: float | None) -> str:
    """Format an accuracy with two decimals, or one if the source states one."""
    if percent is None:
        return '–'
    return f'{percent:.{1 if percent == round(percent, 1) else 2}f}'


def top1(entry: Entry) -> str:
    """Return the published accuracy, followed by others of the source with their resolution."""
    others = [
        (accuracy(o['Top 1 Accuracy']), o['Resolution']) for o in entry.details.get('Other Results', [])
    ]
    return accuracy(entry.top1) + ''.join(small(f'{percent}@{resolution}') for percent, resolution in others)


def top5(entry: Entry) -> str:
    others = [accuracy(o['Top 5 Accuracy']) for o in entry.details.get('Other Results', [])]
    return accuracy(entry.top5) + ''.join(map(small, others))


def with_printed(ours: int, unit: float, printed: str | int | None) -> str:
    """Return our count, followed by that of the source if they differ by more than rounding."""
    cell = short(ours / unit)
    if printed is None:
        return cell
    value, last_digit = figure(str(printed))
    if abs(value - ours) <= TOLERANCE * ours + last_digit / 2:
        return cell
    return cell + small(f'({short(value / unit)})')


def figure(printed: str) -> tuple[float, float]:
    """Return a value and the unit of its last digit: 47.0G gives 47e9 and 0.1e9."""
    digits = printed.rstrip('MG')
    unit = {'M': 1e6, 'G': 1e9}.get(printed[-1], 1)
    return float(digits) * unit, unit / 10 ** len(digits.partition('.')[2])


def parameters(entry: Entry) -> str:
    return with_printed(entry.parameters, 1e6, entry.details.get('Published', {}).get('Parameters'))


def macs(entry: Entry) -> str:
    return with_printed(entry.macs, 1e9, entry.details.get('Published', {}).get('FLOPs'))


def data(name: str | None) -> str:
    return (name or '–').replace('ImageNet-', 'IN-').removesuffix(' (timm tag)')
