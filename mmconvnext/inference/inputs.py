"""Find images by name, and read and preprocess them for a network."""

import glob
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS
from PIL import Image

from ..checkpoints.receiving import receive_bytes
from ..config.inner_datasets import pipeline_of
from ..config.pipeline_steps import LOADERS, kind
from ..datasets.walking import IMAGE_SUFFIXES, images_below, is_hidden
from ..errors import UserError
from ..files import open_regular
from ..images.reader import ImageReader
from ..memory import budget
from ..registry import default_scope
from ..text import one_line, shortened

MAX_BYTES = 1 << 30  # size of a file
MAX_DOWNLOAD = 64_000_000  # bytes of a download; several threads have one each in memory

# The short side is resized to a few hundred pixels, so an image one pixel wide would become huge.
MAX_ASPECT_RATIO = 200
MAX_RESIZED_PIXELS = 1 << 25
MAX_THREADS = 16

CONTENT = bytes | bytearray | memoryview  # content of a file
ImageLike = str | Path | np.ndarray | Image.Image


class Given(NamedTuple):
    """Image to predict.

    Attributes:
        image: path, URL, PIL image or RGB array.
        path: path or URL in results; None if the image has no name.
        name: path of its annotated picture, relative to the output folder.
    """

    image: ImageLike
    path: str | None
    name: str


def find_images(inputs: ImageLike | Iterable[ImageLike], channels: int | None = None) -> list[Given]:
    """Return all images of paths, folders, patterns, URLs, PIL images and arrays, in order.

    Args:
        inputs: one or several of these.
        channels: number of input channels of the network; None if unknown.

    Raises:
        UserError: a folder or pattern contains no images, an input is not an image, or there are no inputs.
    """
    if isinstance(inputs, ImageLike | CONTENT) or not isinstance(inputs, Iterable):
        inputs = [inputs]
    found = [given for number, one in enumerate(inputs) for given in expand(one, number, channels)]
    if not found:
        raise UserError('no images were given; name an image, a folder, a pattern or a URL')
    return found


def expand(one: ImageLike, number: int, channels: int | None) -> list[Given]:
    """Return the images that one input stands for."""
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
            raise UserError(f'{shortened(str(one), 100)} is not a URL: {error}') from error
        name = PurePosixPath(unquote(path)).name[-60:]
        return [Given(one, one, re.sub(r'[^\w.-]', '_', name) or 'image')]
    path = Path(one).expanduser()
    if path.is_dir():
        return find_in_folder(path)
    if path.exists() or not glob.has_magic(str(path)):
        return [file_below(path.parent, path)]
    # Annotated pictures keep the folders below the part without wildcards.
    root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
    pattern = path.relative_to(root)
    # glob.glob would follow circular links with **.
    found = [file_below(root, match) for match in sorted(root.glob(str(pattern))) if match.is_file()]
    if not is_hidden(pattern):
        found = [given for given in found if not is_hidden(given.name)]
    if not found:
        raise UserError(f'{one} matches no file; check the pattern')
    return found


def file_below(root: Path, path: Path) -> Given:
    return Given(str(path), str(path), str(path.relative_to(root)))


def find_in_folder(folder: Path) -> list[Given]:
    """Return the images in a folder and its subfolders, following links, except hidden ones."""
    found = [file_below(folder, path) for path in images_below(folder)]
    if not found:
        raise UserError(
            f'{folder} and its subfolders contain no images; expected {", ".join(sorted(IMAGE_SUFFIXES))}'
        )
    return found


def check_array(image: np.ndarray, number: int, channels: int | None) -> None:
    # Gray and RGB arrays, with or without alpha, are converted to the channels of the network.
    fits = image.ndim < 3 or image.shape[2] <= 4 or channels in (None, image.shape[2])
    if image.dtype.kind not in 'uif' or image.ndim not in (2, 3) or not image.size or not fits:
        raise UserError(
            f'input {number} is an array of {image.dtype} and shape {image.shape}; expected numbers of shape '
            '(height, width, channels), RGB if there are three, or (height, width)'
        )


def is_url(source: str | Path) -> bool:
    return str(source).startswith(('http://', 'https://'))


def read_bytes(source: str) -> bytes:
    """Return the content of a file or URL."""
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


class TestPipeline:
    """Read images with the settings of a config's loader, and apply the rest of its test pipeline.

    Annotations are not loaded, because there are none.

    Raises:
        UserError: the config has no test pipeline.
    """

    __test__ = False  # for pytest

    def __init__(self, cfg: Config):
        try:
            steps = pipeline_of(cfg.test_dataloader.dataset)
        except AttributeError as error:
            raise UserError(
                'the config has no test_dataloader.dataset.pipeline, which defines the preprocessing'
            ) from error
        loading = [step for step in steps if kind(step) in LOADERS]
        others = [step for step in steps if kind(step) not in (*LOADERS, 'LoadAnnotations')]
        with default_scope(cfg.get('default_scope', 'mmpretrain')):
            for step in loading:  # only to check its arguments, because ``ImageReader`` replaces it
                TRANSFORMS.build(step)
            self.steps = Compose([TRANSFORMS.build(step) for step in others])
        loader = loading[0] if loading else {}
        settings = {name: loader[name] for name in ('full_scale', 'max_pixels') if name in loader}
        self.reader = ImageReader(loader.get('color_type', 'color'), **settings)
        self.to_float32 = loader.get('to_float32', False)
        self.channels = channels_of(cfg)
        edges = [step['scale'] for step in others if kind(step) == 'ResizeEdge']
        self.short_side = max((edge for edge in edges if isinstance(edge, int)), default=0)

    def prepare(self, image: ImageLike, look: Callable[[np.ndarray], Any] | None = None) -> tuple[dict, Any]:
        """Return the network's input, and what ``look`` returns for the pixels that were read.

        Raises:
            UserError: the image cannot be read or preprocessed; the message is one line.
        """
        try:
            with budget.kept():
                pixels = self.read(image)
                seen = look and look(pixels)  # before the transforms, which may write into the pixels
                return self(pixels), seen
        except Exception as error:  # decoders, transforms and connections raise any exception
            raise UserError(one_line(error)) from error

    def read(self, image: ImageLike) -> np.ndarray:
        """Return the pixels as the config's loader does, in BGR if there are three channels.

        Raises:
            UserError: the image is too narrow, or cannot be read; see ``ImageReader``.
            Exception: any exception of a connection.
        """
        if isinstance(image, np.ndarray):
            pixels = self.reader.from_array(image)
        elif isinstance(image, Image.Image):
            pixels = self.reader.from_pil(image)
        else:
            pixels = self.reader.from_bytes(read_bytes(image))
        height, width = pixels.shape[:2]
        ratio = max(height, width) / min(height, width)
        if ratio > MAX_ASPECT_RATIO or self.short_side**2 * ratio > MAX_RESIZED_PIXELS:
            raise UserError(f'has {width} x {height} pixels; one side is too short')
        return pixels.astype(np.float32) if self.to_float32 else pixels

    def __call__(self, pixels: np.ndarray) -> dict:
        """Return the network's input."""
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        if self.channels is not None and channels != self.channels:
            raise UserError(
                f'has {channels} channel{"s" * (channels > 1)}, but the network expects {self.channels}; '
                'convert it, or read it with another color_type'
            )
        size = pixels.shape[:2]
        # Transforms of MMDetection need a path and an id.
        return self.steps(dict(img=pixels, img_shape=size, ori_shape=size, img_path='', img_id=0))


def channels_of(cfg: Config) -> int | None:
    """Return the number of input channels of a config's network; None if the config does not define it."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    if 'in_channels' in backbone:
        return backbone['in_channels']
    preprocessor = cfg.get('data_preprocessor') or (cfg.get('model') or {}).get('data_preprocessor') or {}
    mean = preprocessor.get('mean')
    return len(mean) if isinstance(mean, (list, tuple)) and len(mean) > 1 else None


def read_ahead(pool: Executor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """Apply a function in threads, like ``map``, with at most ``ahead`` results waiting to be consumed."""
    items = iter(items)
    waiting = deque(pool.submit(function, item) for item in islice(items, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        yield result
