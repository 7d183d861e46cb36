"""How large a picture does Pillow read?"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image

from ..memory import MAX_PIXELS


class PillowLimit:
    """Pillow's limit for the pixels of a picture, which is one for all files, raised while one is read."""

    def __init__(self):
        self.lock, self.raised, self.former = Lock(), [], None

    @contextmanager
    def at_least(self, pixels: int) -> Iterator[None]:
        """Let Pillow read pictures of so many pixels inside, in this thread and others."""
        if pixels <= MAX_PIXELS:  # as much as Pillow reads by itself
            yield
            return
        with self.lock:
            if not self.raised:
                self.former = Image.MAX_IMAGE_PIXELS
            self.raised.append(pixels)
            self.apply()
        try:
            yield
        finally:
            with self.lock:
                self.raised.remove(pixels)
                self.apply()

    def apply(self) -> None:
        Image.MAX_IMAGE_PIXELS = self.former and max([self.former, *self.raised])


pillow_limit = PillowLimit()
