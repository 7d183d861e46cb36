"""From images to the input of a network."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from ..config.inner_datasets import pipeline_of
from ..datasets.transforms import LoadImage
from ..errors import UserError
from ..images.pixel_budget import budget
from .inputs import ImageLike, read_bytes

# The short side is resized to some hundred pixels: a line of one pixel would become a giant.
MAX_ASPECT_RATIO = 200
MAX_RESIZED_PIXELS = 1 << 25
MAX_THREADS = 16
LOADERS = 'LoadImageFromFile', 'LoadImage', 'LoadImageForCrop'


class TestPipeline:
    """The steps of the config's test, behind its loader, whose settings are kept.

    Annotations are not loaded: there are none.

    Raises:
        UserError: the config has no such steps.
    """

    __test__ = False  # for pytest

    def __init__(self, cfg: Config):
        try:
            steps = pipeline_of(cfg.test_dataloader.dataset)
        except AttributeError as error:
            raise UserError(
                'the config has no test_dataloader.dataset.pipeline, which would tell how to prepare images'
            ) from error
        loading = [step for step in steps if kind(step) in LOADERS]
        others = [step for step in steps if kind(step) not in (*LOADERS, 'LoadAnnotations')]
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
            loader = build_loader(loading[0] if loading else dict(type='LoadImageFromFile'))
            self.steps = Compose([TRANSFORMS.build(step) for step in others])
        self.reader, self.to_float32 = loader.reader, loader.to_float32
        self.channels = channels_of(cfg)
        edges = [step['scale'] for step in others if kind(step) == 'ResizeEdge']
        self.short_side = max((edge for edge in edges if isinstance(edge, int)), default=0)

    def prepare(self, image: ImageLike, look: Callable[[np.ndarray], Any] | None = None) -> tuple[dict, Any]:
        """Return the network's input, and what ``look`` makes of the pixels while they are there.

        Raises:
            UserError: what is wrong with the image, in one line.
        """
        try:
            with budget.kept():
                pixels = self.read(image)
                return self(pixels), look and look(pixels)
        except Exception as error:  # decoders, transforms and connections raise what they like
            raise UserError(one_line(error)) from error

    def read(self, image: ImageLike) -> np.ndarray:
        """Return the pixels that the config's loader gives, BGR if there are three channels.

        Raises:
            UserError: the image is a line, or cannot be read; see ``ImageReader``.
            Exception: whatever a connection raises.
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
            raise UserError(f'is a line of {width} x {height} pixels; one side is too short')
        return pixels.astype(np.float32) if self.to_float32 else pixels

    def __call__(self, pixels: np.ndarray) -> dict:
        """The network's input."""
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        if self.channels is not None and channels != self.channels:
            raise UserError(
                f'has {channels} channel{"s" * (channels > 1)}, and the network takes {self.channels}; '
                'convert it, or read it with another color_type'
            )
        size = pixels.shape[:2]
        # Those of MMDetection ask for a name and a number.
        return self.steps(dict(img=pixels, img_shape=size, ori_shape=size, img_path='', img_id=0))


def channels_of(cfg: Config) -> int | None:
    """Return how many channels the network of a config takes; None: it does not say."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    if 'in_channels' in backbone:
        return backbone['in_channels']
    preprocessor = cfg.get('data_preprocessor') or (cfg.get('model') or {}).get('data_preprocessor') or {}
    mean = preprocessor.get('mean')
    return len(mean) if isinstance(mean, (list, tuple)) and len(mean) > 1 else None


def build_loader(step: dict) -> LoadImage:
    """Build our loader, also where a config names the class of mmcv."""
    if kind(step) == 'LoadImageFromFile':
        step = {**step, 'type': LoadImage}
    return TRANSFORMS.build(step)


def kind(step: dict) -> str:
    """The name of a step's class."""
    name = step['type'] if isinstance(step['type'], str) else step['type'].__name__
    return name.rpartition('.')[2]


def read_ahead(pool: Executor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """``map`` in threads that are at most so many items ahead of who takes the results."""
    items = iter(items)
    waiting = deque(pool.submit(function, item) for item in islice(items, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        yield result


def one_line(error: Exception) -> str:
    """What an error says, for a table."""
    return ' '.join(str(error).split()) or type(error).__name__
