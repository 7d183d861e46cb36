"""Which images were named, and their pixels."""

import glob
import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from ..checkpoints.receiving import receive_bytes
from ..datasets.walking import IMAGE_SUFFIXES, images_below, is_hidden
from ..errors import UserError
from ..files import open_regular
from ..text import shortened

MAX_BYTES = 1 << 30  # of a file
MAX_DOWNLOAD = 64_000_000  # bytes of a URL; several threads hold one each

CONTENT = bytes | bytearray | memoryview  # of a file
ImageLike = str | Path | np.ndarray | Image.Image


class Given(NamedTuple):
    """One image to classify.

    Attributes:
        image: path, URL, PIL image or RGB array.
        path: what results call it; None: it came without a name.
        name: of its annotated picture, relative to the folder of these.
    """

    image: ImageLike
    path: str | None
    name: str


def find_images(inputs: ImageLike | Iterable[ImageLike], channels: int | None = None) -> list[Given]:
    """Every image of paths, folders, patterns, URLs, PIL images and arrays, in their order.

    Args:
        inputs: one or several of these.
        channels: that the network takes; None: unknown.

    Raises:
        UserError: a folder or pattern without images, something that is no image, or nothing at all.
    """
    if isinstance(inputs, ImageLike | CONTENT) or not isinstance(inputs, Iterable):
        inputs = [inputs]
    found = [given for number, one in enumerate(inputs) for given in expand(one, number, channels)]
    if not found:
        raise UserError('there is nothing to classify; name an image, a folder, a pattern or a URL')
    return found


def expand(one: ImageLike, number: int, channels: int | None) -> list[Given]:
    """What one input stands for."""
    if isinstance(one, np.ndarray):
        check_array(one, number, channels)
        return [Given(one, None, f'image-{number}')]
    if isinstance(one, Image.Image):
        return [Given(one, str(getattr(one, 'filename', '')) or None, f'image-{number}')]
    if isinstance(one, CONTENT):
        raise UserError(
            f'input {number} is the content of a file; give its path, or open it: '
            'PIL.Image.open(io.BytesIO(content))'
        )
    if not isinstance(one, str | Path):
        raise UserError(
            f'input {number} is of type {type(one).__name__}; expected a path, URL, PIL image or RGB array'
        )
    if is_url(one):
        try:
            path = urlsplit(str(one)).path
        except ValueError as error:
            raise UserError(f'{shortened(str(one), 100)} is no URL: {error}') from error
        name = PurePosixPath(unquote(path)).name[-60:]
        return [Given(one, one, re.sub(r'[^\w.-]', '_', name) or 'image')]
    path = Path(one).expanduser()
    if path.is_dir():
        return find_in_folder(path)
    if path.exists() or not glob.has_magic(str(path)):
        return [file_below(path.parent, path)]
    # Pictures keep the folders behind the part without wildcards.
    root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
    pattern = path.relative_to(root)
    # Not glob.glob: its ** goes round in circles of links.
    found = [file_below(root, match) for match in sorted(root.glob(str(pattern))) if match.is_file()]
    if not is_hidden(pattern):
        found = [given for given in found if not is_hidden(given.name)]
    if not found:
        raise UserError(f'{one} matches no file; check the pattern')
    return found


def file_below(root: Path, path: Path) -> Given:
    return Given(str(path), str(path), str(path.relative_to(root)))


def find_in_folder(folder: Path) -> list[Given]:
    """Images in a folder and below, also behind links; hidden ones are none."""
    found = [file_below(folder, path) for path in images_below(folder)]
    if not found:
        raise UserError(
            f'{folder} holds no images, nor what is below; expected {", ".join(sorted(IMAGE_SUFFIXES))}'
        )
    return found


def check_array(image: np.ndarray, number: int, channels: int | None) -> None:
    # Gray and RGB, also with alpha, are converted to what the network takes.
    fits = image.ndim < 3 or image.shape[2] <= 4 or channels in (None, image.shape[2])
    if image.dtype.kind not in 'uif' or image.ndim not in (2, 3) or not image.size or not fits:
        raise UserError(
            f'input {number} is an array of {image.dtype} and shape {image.shape}; expected numbers of shape '
            '(height, width, channels), RGB if there are three, or (height, width)'
        )


def is_url(source: str | Path) -> bool:
    return str(source).startswith(('http://', 'https://'))


def read_bytes(source: str) -> bytes:
    """The content of a file or of what a URL leads to."""
    if is_url(source):
        return receive_bytes(source, MAX_DOWNLOAD)
    try:
        with open_regular(source) as file:
            content = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError('there is no such file') from error
    if len(content) > MAX_BYTES:
        raise UserError(f'has more than {MAX_BYTES:,} bytes')
    return content
