"""Write figures with arbitrary names in them."""

import warnings
from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..errors import UserError
from ..files import check_writable, written_whole


def check_figure_file(out: str | Path) -> None:
    """Raise UserError unless matplotlib can write the file, which may exist, before any work is done."""
    formats = FigureCanvasBase.get_supported_filetypes()
    if Path(out).suffix[1:].lower() not in formats:
        raise UserError(f'--out {out}: the name should end in one of .{", .".join(sorted(formats))}')
    check_writable(Path(out))


def save_figure(figure: Figure, out: str | Path, **options) -> None:
    """Write a figure with every text taken literally.

    Names of classes, files and folders may contain dollar signs, which do not start formulas here, and
    characters that are missing in the fonts, for which boxes are drawn.

    Args:
        figure: figure to write.
        out: image file; missing folders are created.
        **options: arguments of ``Figure.savefig``.
    """
    for text in figure.findobj(Text):
        text.set(parse_math=False, usetex=False)
    with warnings.catch_warnings(), written_whole(Path(out)) as part:
        warnings.filterwarnings('ignore', message='Glyph .* missing from')
        figure.savefig(part, **options)
