"""The number of pixels up to which Pillow opens an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image

from ..memory import MAX_PIXELS


class Silent(int):
    """A limit whose double is itself: Pillow warns above its limit and raises an error above the double."""

    def __rmul__(self, factor: int) -> 'Silent':
        return self


class PillowLimit:
    """Pillow's limit for the pixels of an image, which is one for all files, changed while one is read.

    Images between Pillow's limit and twice as much are read without its warning: our own limit follows.
    """

    def __init__(self):
        self.lock, self.wanted, self.former = Lock(), [], None

    @contextmanager
    def at_least(self, pixels: int = MAX_PIXELS) -> Iterator[None]:
        """Let Pillow open images of twice as many pixels inside, in this thread and others."""
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
