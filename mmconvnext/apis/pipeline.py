"""From images to the input of a network."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, DefaultScope

from ..datasets.wrappers import pipeline_of
from ..errors import UserError
from .images import ImageLike, decode, read_bytes, rgb_array

# The short side is resized to some hundred pixels: a line of one pixel would become a giant.
MOST_LONG_TO_SHORT = 200
MOST_THREADS = 16


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
        loading = [step for step in steps if kind(step) == 'LoadImageFromFile']
        others = [step for step in steps if kind(step) not in ('LoadImageFromFile', 'LoadAnnotations')]
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
            self.loader = TRANSFORMS.build((loading or [dict(type='LoadImageFromFile')])[0])
            self.steps = Compose([TRANSFORMS.build(step) for step in others])

    def read(self, image: ImageLike) -> np.ndarray:
        """The pixels as the config's loader gives them, which is BGR.

        Raises:
            UserError: the image is a line.
            Exception: whatever decoders raise.
        """
        how = dict(flag=self.loader.color_type, backend=self.loader.imdecode_backend)
        if isinstance(image, str):
            pixels = decode(read_bytes(image), **how)
        else:
            pixels = rgb_array(image)[..., ::-1]
            if how['flag'].startswith('grayscale'):
                pixels = mmcv.bgr2gray(np.ascontiguousarray(pixels))
        height, width = pixels.shape[:2]
        if max(height, width) > MOST_LONG_TO_SHORT * min(height, width):
            raise UserError(f'is a line of {width} x {height} pixels; one side is too short')
        return pixels.astype(np.float32) if self.loader.to_float32 else np.ascontiguousarray(pixels)

    def __call__(self, pixels: np.ndarray) -> dict:
        """The network's input."""
        size = pixels.shape[:2]
        # Those of MMDetection ask for a name and a number.
        return self.steps(dict(img=pixels, img_shape=size, ori_shape=size, img_path='', img_id=0))


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
