"""Which images were named, and their pixels."""

import glob
import re
from collections.abc import Iterable
from io import BytesIO
from itertools import takewhile
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

import mmcv
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..datasets.walking import IMAGE_SUFFIXES, images_below, is_hidden
from ..errors import UserError
from ..version import __version__

# By which a whole file is told without decoding it twice.
END_MARKS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}
MOST_BYTES = 1 << 30
TIMEOUT = 30  # seconds without a byte

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


def find_images(inputs: ImageLike | Iterable[ImageLike]) -> list[Given]:
    """Every image of paths, folders, patterns, URLs, PIL images and arrays, in their order.

    Raises:
        UserError: a folder or pattern without images, something that is no image, or nothing at all.
    """
    inputs = [inputs] if isinstance(inputs, ImageLike) else list(inputs)
    found = [given for number, one in enumerate(inputs) for given in expand(one, number)]
    if not found:
        raise UserError('there is nothing to classify; name an image, a folder, a pattern or a URL')
    return found


def expand(one: ImageLike, number: int) -> list[Given]:
    """What one input stands for."""
    if isinstance(one, np.ndarray):
        check_array(one, number)
        return [Given(one, None, f'image-{number}')]
    if isinstance(one, Image.Image):
        return [Given(one, str(getattr(one, 'filename', '')) or None, f'image-{number}')]
    if not isinstance(one, str | Path):
        raise UserError(
            f'input {number} is of type {type(one).__name__}; expected a path, URL, PIL image or RGB array'
        )
    if is_url(one):
        name = PurePosixPath(unquote(urlsplit(one).path)).name[-60:]
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


def check_array(image: np.ndarray, number: int) -> None:
    grey_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if image.dtype != np.uint8 or not grey_or_rgb or not image.size:
        raise UserError(
            f'input {number} is an array of {image.dtype} and shape {image.shape}; expected uint8, of shape '
            '(height, width, 3) in RGB or (height, width)'
        )


def is_url(source: str | Path) -> bool:
    return str(source).startswith(('http://', 'https://'))


def read_bytes(source: str) -> bytes:
    """The content of a file or of what a URL leads to."""
    if is_url(source):
        address = quote(source, safe="%/:=&?~#+!$,;'@()*[]")
        request = Request(address, headers={'User-Agent': f'mmconvnext/{__version__}'})
        with urlopen(request, timeout=TIMEOUT) as response:
            content = response.read(MOST_BYTES + 1)
            size = len(content)
    else:
        path = Path(source)
        if not path.is_file():  # a pipe would be waited for
            raise UserError('there is no such file')
        size = path.stat().st_size
        content = path.read_bytes() if size <= MOST_BYTES else b''
    if size > MOST_BYTES:
        raise UserError(f'has more than {MOST_BYTES:,} bytes')
    if not size:
        raise UserError('is empty')
    return content


def decode(content: bytes, **how) -> np.ndarray:
    """The pixels by mmcv, in BGR, of a file that Pillow finds whole.

    Some versions of OpenCV fill what is missing with grey, and none tells how large an image will be.

    Args:
        content: of the file.
        **how: ``flag`` and ``backend`` of mmcv.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            end_mark = END_MARKS.get(image.format)
            if image.format == 'PNG':
                image.verify()  # its checksums
            elif end_mark is None or not content.rstrip(b'\0').endswith(end_mark):
                image.load()
    except UnidentifiedImageError as error:
        raise UserError(f'its {len(content):,} bytes are no image') from error
    pixels = mmcv.imfrombytes(content, **how)
    if pixels is not None:
        return pixels
    with Image.open(BytesIO(content)) as image:  # Pillow knows a few formats more
        return rgb_array(image)[..., ::-1]


# Pillow reads a file when its pixels are first asked for, and two threads may ask.
reading = Lock()


def rgb_array(image: np.ndarray | Image.Image) -> np.ndarray:
    """The pixels in RGB, of shape (H, W, 3), upright and without alpha, as OpenCV reads the file."""
    if isinstance(image, np.ndarray):
        return np.broadcast_to(image.reshape(*image.shape[:2], -1), (*image.shape[:2], 3))
    with reading:
        image = ImageOps.exif_transpose(image)
        if image.mode == 'F':
            raise UserError('has floating point pixels, whose range is unknown; save it with 8 bits a pixel')
        if image.mode.startswith('I'):  # 16 bits, which Pillow would clip to 8
            grey = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.asarray(image.convert('RGB'))
