"""Raise Pillow's limit on the number of pixels while images are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image

from ..memory import MAX_PIXELS


class Silent(int):
    """Limit that equals its double, so that Pillow, which raises an error above the double, never warns."""

    def __rmul__(self, factor: int) -> 'Silent':
        return self


class PillowLimit:
    """Changes Pillow's global limit on the number of pixels while at least one image is read.

    Pillow's warning about large images is not shown, because our own limit is checked afterwards.
    """

    def __init__(self):
        self.lock, self.wanted, self.former = Lock(), [], None

    @contextmanager
    def at_least(self, pixels: int = MAX_PIXELS) -> Iterator[None]:
        """Context manager in which Pillow opens images of up to twice as many pixels, in all threads."""
        with self.lock:
            if not self.wanted:
                self.former = Image.MAX_IMAGE_PIXELS
            self.wanted.append(pixels)
            self.apply()
        try:
            yield
        finally:
            with self.lock:
                self.wanted.remove(pixels)
                self.apply()

    def apply(self) -> None:
        if self.wanted and self.former is not None:
            Image.MAX_IMAGE_PIXELS = Silent(2 * max(self.former, *self.wanted))
        else:
            Image.MAX_IMAGE_PIXELS = self.former


pillow_limit = PillowLimit()
