"""Read images from files, encoded bytes, PIL images and arrays with the same rules."""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from threading import Lock

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from ..memory import MAX_PIXELS, budget
from .array_file import MAGIC, ArrayError, array_of, resizable
from .pillow_limit import pillow_limit

# Formats are detected from the content, not the name. Other formats of Pillow run programs (EPS), read other
# files or are unmaintained.
FORMATS = ('JPEG', 'PNG', 'BMP', 'GIF', 'TIFF', 'WEBP', 'PPM', 'JPEG2000', 'AVIF')
MAX_SCANS = 100  # scans of a JPEG; progressive files have about ten, and each is a pass over all pixels
STRIP_PIXELS = 1 << 20
JPEG_SCAN = 0xDAFF  # FF DA, little-endian
# Matches markers as libjpeg finds them, except those without a length (other than the end marker).
JPEG_MARKER = re.compile(rb'\xff([\xc0-\xcf\xd9-\xfe])')
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
SAMPLES_PER_PIXEL = 277  # TIFF tag
JPEG_END, PNG_END = b'\xff\xd9', b'IEND\xaeB`\x82'
ORIENTATION = 0x0112  # EXIF tag
WEBP_ANIMATION = 2  # bit of the flags
COLORS = ('color', 'grayscale', 'unchanged')
REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION  # versions of OpenCV differ in which files they rotate
# Pillow reads the pixels of a file on first use, possibly in two threads.
loading = Lock()


class ImageError(UserError, OSError):
    """An image cannot be decoded; training replaces it by another one."""


@dataclass(frozen=True)
class ImageReader:
    """Read images as arrays (H, W), (H, W, 3) in BGR, or (H, W, C) with all channels of the file.

    In .npy files, three channels are RGB, four are RGB and another one, and more keep their order. For other
    files, the EXIF orientation is applied, the first frame of an animation is read, alpha is dropped,
    palettes are expanded, and CMYK is converted to RGB by Pillow.

    Args:
        color: ``color``, ``grayscale`` or ``unchanged``, which keeps the channels of the file; with
            ``_ignore_orientation`` appended, the EXIF orientation is not applied.
        full_scale: pixel value of white. None: 255, or for ``unchanged`` that of each file. With 255, the
            high byte of 16-bit images is used. With another value, 8-bit images are scaled to it, and images
            with more bits keep their values.
        max_pixels: limit on the number of pixels; larger images are an error, before decoding.
    """

    color: str = 'color'
    full_scale: float | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self):
        if self.channels not in COLORS:
            choices = ', '.join(COLORS)
            raise UserError(f'images cannot be read as {self.color!r}; choose from {choices}')

    @property
    def channels(self) -> str:
        return self.color.removesuffix('_ignore_orientation')

    @property
    def turns(self) -> bool:
        return not self.color.endswith('_ignore_orientation')

    @property
    def white(self) -> float | None:
        """Pixel value of white in the result; None: that of the file."""
        return 255 if self.full_scale is None and self.channels != 'unchanged' else self.full_scale

    def from_bytes(
        self, content: bytes, reduction: Callable[[tuple[int, int]], int] | None = None
    ) -> np.ndarray:
        """Decode the content of a file.

        Args:
            content: content of a file in one of ``FORMATS``, or of a .npy file.
            reduction: function from (width, height) of a JPEG to 1, 2, 4 or 8, by which the decoder divides
                both.

        Raises:
            ImageError: the content is not an image, or is broken, incomplete or too large.
            UserError: the range of the pixels is unknown, or there are too many channels.
        """
        if not content:
            raise ImageError('is empty')
        if content.startswith(MAGIC):
            return self.from_array_file(content)
        try:
            with (
                pillow_limit.at_least(self.max_pixels),
                Image.open(BytesIO(content), formats=FORMATS) as image,
            ):
                self.check_size(*image.size, image.format)
                if image.format in ('JPEG', 'MPO'):
                    check_scans(content)
                with budget.taken(math.prod(image.size)):
                    pixels = self.by_opencv(image, content, reduction)
                    return self.finished(self.by_pillow(image) if pixels is None else pixels)
        except UserError:
            raise
        except (UnidentifiedImageError, KeyError) as error:  # KeyError: Pillow was built without a format
            hint = '; save it as .npy if it has other channels than RGB and alpha' * content.startswith(TIFF)
            raise ImageError(
                f'has {len(content):,} bytes in no supported format ({", ".join(FORMATS)}, NPY){hint}'
            ) from error
        except Exception as error:  # decoders raise any exception
            raise ImageError(str(error) or type(error).__name__) from error

    def from_array_file(self, content: bytes) -> np.ndarray:
        """Read the content of a .npy file with the rules of ``from_array``.

        Raises:
            ImageError, UserError: see ``from_bytes``.
        """
        try:
            array = array_of(content)
            self.check_size(array.shape[1], array.shape[0])
            with budget.taken(max(math.prod(array.shape[:2]), array.nbytes // 4)):
                return self.from_array(resizable(array))
        except ArrayError as error:
            raise ImageError(str(error)) from error

    def from_pil(self, image: Image.Image) -> np.ndarray:
        """Convert a PIL image, and read its file if that has not been done yet.

        Raises:
            ImageError, UserError: see ``from_bytes``.
        """
        try:
            with loading, pillow_limit.at_least(self.max_pixels):
                self.check_size(*image.size, image.format)
                check_file(image)
                with budget.taken(math.prod(image.size)):
                    return self.finished(self.by_pillow(image))
        except UserError:
            raise
        except Exception as error:  # decoders raise any exception
            raise ImageError(str(error) or type(error).__name__) from error

    def from_array(self, array: np.ndarray) -> np.ndarray:
        """Convert an array (H, W) or (H, W, C), which is RGB if it has three or four channels.

        Raises:
            UserError: the array has an unsupported dtype, shape or range.
        """
        if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in 'buif':
            raise UserError(
                f'is an array of {array.dtype} and shape {array.shape}; expected numbers of shape (height, '
                'width) or (height, width, channels)'
            )
        return self.finished(swapped(array[..., 0] if array.shape[2:] == (1,) else array))

    def check_size(self, width: int, height: int, kind: str | None = None) -> None:
        # The decoder of JPEG 2000 needs 12 to 24 bytes per pixel, twice as many as others.
        limit = self.max_pixels // (2 if kind == 'JPEG2000' else 1)
        if width * height > limit:
            raise ImageError(
                f'has {width:,} x {height:,} pixels; at most {limit:,} are allowed, a limit that max_pixels '
                'of LoadImageFromFile sets'
            )
        if not width * height:
            raise ImageError(f'has {width} x {height} pixels')

    def by_opencv(self, image: Image.Image, content: bytes, reduction: Callable | None) -> np.ndarray | None:
        """Decode common files and 16-bit color files with OpenCV; return None if Pillow has to read a file.

        Both give the same pixels, but OpenCV is faster. Some versions of OpenCV fill missing parts with gray,
        so the file must be complete.
        """
        stored = image.tag_v2.get(SAMPLES_PER_PIXEL, 1) if image.format == 'TIFF' else 1
        if self.channels == 'unchanged' and stored > max(3, len(image.getbands())):
            raise ImageError(
                f'is a TIFF with {stored} channels, of which only {len(image.getbands())} can be read; save '
                'it as .npy, an array of (height, width, channels)'
            )
        deep = image.mode in ('RGB', 'RGBA') and any('16' in str(tile[3]) for tile in image.tile)
        if deep and self.white != 255:  # Pillow would drop the low byte
            image.load()
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            return pixels if pixels is None else turned(pixels, orientation_of(image) if self.turns else 1)
        orientation, flag = 1, cv2.IMREAD_COLOR
        if image.mode == 'L' and self.channels != 'color':
            flag = cv2.IMREAD_GRAYSCALE
        elif image.mode == 'RGBA' and self.channels == 'unchanged':
            flag = cv2.IMREAD_UNCHANGED
        if image.format in ('JPEG', 'MPO'):
            if image.mode not in ('L', 'RGB') or not content.rstrip(b'\0').endswith(JPEG_END):
                return None
            if reduction is not None and flag == cv2.IMREAD_COLOR:
                flag = REDUCED.get(reduction(image.size), flag)
            orientation = orientation_of(image) if self.turns else 1
        elif image.format == 'PNG':
            # The orientation of a PNG may follow its pixels.
            oriented = b'eXIf' in content or 'XML:com.adobe.xmp' in image.info
            animated = getattr(image, 'is_animated', False)
            if deep or oriented or animated or image.mode not in ('L', 'RGB', 'RGBA'):
                return None
            image.verify()  # checksums
        elif image.format == 'WEBP':  # Pillow needs 16 bytes per pixel
            whole = len(content) >= 8 + int.from_bytes(content[4:8], 'little')
            if not whole or (content[12:16] == b'VP8X' and content[20] & WEBP_ANIMATION):
                return None
            orientation = orientation_of(image) if self.turns else 1
        else:
            return None
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag | AS_STORED)
        if pixels is None:
            raise ImageError('is broken: OpenCV cannot decode it')
        return turned(pixels, orientation)

    def by_pillow(self, image: Image.Image) -> np.ndarray:
        """Decode a file with Pillow, in the depth of the file."""
        name = getattr(image, 'filename', None)
        if image.format == 'TIFF' and name:
            image.filename = ''  # Pillow scrambles rotated files that it memory-maps by name
        image.load()  # rotates some formats by itself
        if name:
            image.filename = name
        orientation = orientation_of(image) if self.turns else 1
        mode, transparent = image.mode, 'transparency' in image.info
        conversions = ()
        if mode == '1':
            conversions = ('L',)
        elif mode in ('P', 'PA'):
            keeps = self.channels == 'unchanged' and (transparent or mode == 'PA')
            conversions = ('RGBA' if keeps else 'RGB',)
        elif mode in ('LA', 'La'):
            conversions = 'LA', 'RGBA' if self.channels == 'unchanged' else 'L'
        elif mode in ('CMYK', 'YCbCr', 'HSV', 'RGBX'):
            conversions = ('RGB',)
        elif mode == 'RGBa':
            conversions = ('RGBA',)
        elif mode not in ('L', 'RGB', 'RGBA', 'F') and not mode.startswith('I'):
            raise ImageError(f'has the unsupported pixel format {mode}; save it as RGB')
        return turned(as_array(image, conversions), orientation)

    def finished(self, pixels: np.ndarray) -> np.ndarray:
        """Convert pixels to the requested depth and channels."""
        pixels = self.in_channels(self.in_depth(pixels))
        return np.ascontiguousarray(pixels)

    def in_depth(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        if self.white is None:
            return pixels if pixels.dtype.kind != 'u' else pixels.astype(pixels.dtype.newbyteorder('='))
        if pixels.dtype == np.uint8:
            if self.white == 255:
                return pixels
            scaled = pixels.astype(np.float32) * np.float32(self.white / 255)
            whole = float(self.white).is_integer() and 255 < self.white <= 65535
            return scaled.round().astype(np.uint16) if whole else scaled
        if pixels.dtype.kind in 'iu' and pixels.min() >= 0 and pixels.max() <= 65535:
            pixels = pixels.astype(np.uint16)  # Pillow often uses 32 bits for 16-bit files
            if self.white != 255:
                return pixels
            brightest = int(pixels.max())
            if 255 < brightest < 1 << 12:
                warnings.warn(
                    f'a 16-bit image has no value above {brightest}; if it was recorded with 12 bits or '
                    'fewer, it is nearly black now: read it with full_scale=4095, or the value of white',
                    stacklevel=2,
                )
            return (pixels >> 8).astype(np.uint8)
        if self.full_scale is None or self.white == 255:
            kind = (
                'floating point' if pixels.dtype.kind == 'f' else f'{8 * pixels.dtype.itemsize}-bit integer'
            )
            raise UserError(
                f'has {kind} pixels from {pixels.min():g} to {pixels.max():g}, but it is unknown which value '
                'is white; save it with 8 or 16 bits, or set full_scale of the loader to that value'
            )
        return pixels.astype(np.float32)

    def in_channels(self, pixels: np.ndarray) -> np.ndarray:
        if self.channels == 'unchanged':
            return pixels
        count = pixels.shape[2] if pixels.ndim == 3 else 1
        if count == 2:  # gray and alpha
            pixels, count = pixels[..., 0], 1
        if count > 4:
            raise UserError(
                f'has {count} channels, but {self.channels!r} supports at most 4; read it with '
                "color_type='unchanged' for a network with as many in_channels"
            )
        if self.channels == 'grayscale':
            return (
                pixels
                if count == 1
                else cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2GRAY)
            )
        return cv2.merge([np.ascontiguousarray(pixels)] * 3) if count == 1 else pixels[..., :3]


def check_file(image: Image.Image) -> None:
    """Raise if a PIL image is not decoded yet and its file has too many scans."""
    file = getattr(image, 'fp', None)
    if image.format in ('JPEG', 'MPO') and image.tile and file is not None:
        place = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(place)
        check_scans(content)


def check_scans(content: bytes) -> None:
    """Raise if a JPEG has more scans than any encoder writes.

    A scan without changes takes a few bytes, but costs the decoder a pass over all pixels.

    Raises:
        ImageError: there are more than ``MAX_SCANS`` scans.
    """
    if count_scan_markers(content) <= MAX_SCANS:
        return
    scans, place = 0, 2
    while (marker := JPEG_MARKER.search(content, place)) is not None:
        code, place = marker[1][0], marker.end()
        if code == 0xD9:  # the rest is not part of the image
            return
        place += int.from_bytes(content[place : place + 2], 'big')
        scans += code == 0xDA
        if scans > MAX_SCANS:
            raise ImageError(
                f'is a JPEG with more than {MAX_SCANS} scans, while progressive files have about ten; '
                'save it again'
            )


def count_scan_markers(content: bytes) -> int:
    """Count the scan markers in a JPEG, including those in its metadata.

    Pairs of bytes are compared at even and odd positions; ``bytes.count`` takes six times as long.
    """
    pairs = (np.frombuffer(content, '<u2', (len(content) - first) // 2, first) for first in (0, 1))
    return sum(np.count_nonzero(each == JPEG_SCAN) for each in pairs)


def as_array(image: Image.Image, conversions: tuple[str, ...]) -> np.ndarray:
    """Convert a PIL image through the given modes and return its pixels, RGB as BGR.

    Large images are converted in strips, so that no step needs memory for all of it.
    """
    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    result = None
    for top in range(0, height, rows):
        strip = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        for mode in conversions:
            strip = strip.convert(mode)
        pixels = swapped(np.asarray(strip))
        if rows >= height:
            return pixels
        if result is None:
            result = np.empty((height, *pixels.shape[1:]), pixels.dtype)
        result[top : top + rows] = pixels
    return result


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata do not make an image unreadable
        return 1
    return orientation if orientation in range(1, 9) else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to an image (H, W) or (H, W, C)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def swapped(pixels: np.ndarray) -> np.ndarray:
    """Swap RGB and BGR and keep alpha; images with other numbers of channels are returned unchanged."""
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2:] in ((3,), (4,)) else pixels
