"""Write self-contained HTML pages, which load nothing and run only their own script.

Names of classes and files are untrusted, so all text passes through ``escaped``.
"""

from base64 import b64encode
from hashlib import sha256
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import written_whole
from ..text import printable_lines

HERE = Path(__file__).parent
LARGEST, SMALL = 256, 96  # pixels of a picture's long side: at most; and up to which every pixel is kept


def write_page(out: Path, title: str, body: str) -> None:
    """Write a page atomically.

    Args:
        out: file.
        title: as plain text.
        body: HTML.
    """
    script, style = ((HERE / f'page.{kind}').read_text(encoding='utf-8') for kind in ('js', 'css'))
    # Even if a name got through unescaped, the browser would run nothing else.
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n'
        f'<body>\n<main>\n{body}\n</main>\n<script>{script}</script>\n</body>\n</html>\n'
    )
    with written_whole(out) as part:
        # File names may contain bytes that are not UTF-8.
        part.write_bytes(page.encode('utf-8', errors='backslashreplace'))


def escaped(text: object) -> str:
    return escape(printable_lines(str(text)), quote=True)


def section(title: str, detail: str, content: str) -> str:
    return f'<section><h2>{title}</h2>\n<p class="faint">{detail}</p>\n{content}</section>'


def figure(image: np.ndarray | None, caption: str) -> str:
    """Return a picture with a caption below.

    Args:
        image: (H, W, 3) uint8 in RGB, or None if there is none.
        caption: HTML.
    """
    shown = '<div class="missing">no picture</div>' if image is None else embedded(image)
    return f'<figure>{shown}<figcaption>{caption}</figcaption></figure>'


def embedded(image: np.ndarray) -> str:
    """Return an embedded image: small ones lossless, larger ones as JPEG."""
    picture, data = Image.fromarray(image), BytesIO()
    if max(picture.size) <= SMALL:
        picture.save(data, 'PNG', optimize=True)
        return f'<img class="pixels" alt="" src="{data_url(data.getvalue(), "png")}">'
    picture.thumbnail((LARGEST, LARGEST))
    picture.save(data, 'JPEG', quality=85)
    return f'<img alt="" src="{data_url(data.getvalue(), "jpeg")}">'


def data_url(content: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{b64encode(content).decode()}'


def percent(part: float) -> str:
    return f'{part:.1%}'.replace('%', ' %')
