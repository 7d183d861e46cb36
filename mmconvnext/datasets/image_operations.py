"""What the operations of RandAugment do to an image, in integers and tables instead of floats.

Images are (H, W, 3) uint8, BGR and contiguous; each function gives a new one and leaves its own alone.
The results are those of mmpretrain 1.2 with OpenCV 5 (``slid`` says how nearly). From timm's, which is
Pillow's, they differ as mmpretrain's do: colours by rounding; the outermost pixels, which Pillow does not
sharpen; the cubic kernel, of a = -0.75 in OpenCV and -1 in Pillow; and shear, which begins at the centre of
the first pixel and not at its corner, 0.15 pixels apart at most.
"""

import cv2
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

SMOOTHING = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # Pillow's ImageFilter.SMOOTH
Color = tuple[int, int, int]  # BGR
GREYS = np.arange(256, dtype=np.uint8)


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Each channel stretched until it goes from 0 to 255."""
    return cv2.merge([cv2.LUT(channel, stretching(channel)) for channel in cv2.split(image)])


def stretching(channel: np.ndarray) -> np.ndarray:
    low, high, _, _ = cv2.minMaxLoc(channel)
    if low == high:
        return GREYS
    scale = 255 / (high - low)
    return np.clip(GREYS * scale - low * scale, 0, 255).astype(np.uint8)


def equalize(image: np.ndarray) -> np.ndarray:
    """Each channel with about as many pixels of one grey as of another."""
    return cv2.merge([cv2.LUT(channel, equalizing(channel)) for channel in cv2.split(image)])


def equalizing(channel: np.ndarray) -> np.ndarray:
    counts = cv2.calcHist([channel], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    step = (channel.size - counts[counts.nonzero()[0][-1]]) // 255
    if step == 0:
        return GREYS
    darker = np.cumsum(counts) - counts
    return np.minimum((darker + step // 2) // step, 255).astype(np.uint8)


def invert(image: np.ndarray) -> np.ndarray:
    return cv2.bitwise_not(image)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """The highest so many bits of each value, 0 to 8."""
    return image & np.uint8(256 - (1 << (8 - bits)))


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Values from the threshold on inverted."""
    return cv2.LUT(image, np.where(threshold <= GREYS, 255 - GREYS, GREYS))


def solarize_add(image: np.ndarray, added: int) -> np.ndarray:
    """The dark half of values raised, up to 255."""
    raised = np.minimum(np.arange(256) + added, 255).astype(np.uint8)
    return cv2.LUT(image, np.where(GREYS < 128, raised, GREYS))


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Factor 0 gives grey, 1 the image, 2 the opposite of grey."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Factor 0 gives the mean grey everywhere, 1 the image."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    mean = round(cv2.sumElems(grey)[0] / grey.size)
    return cv2.LUT(image, blended(GREYS, np.full_like(GREYS, mean), factor))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Factor 0 gives black, 1 the image."""
    return cv2.LUT(image, blended(GREYS, np.zeros_like(GREYS), factor))


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Factor 0 gives a smoothed image, 1 the image, 2 a sharpened one."""
    return blended(image, cv2.filter2D(image, -1, SMOOTHING), factor)


def blended(image: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    """Between two arrays of uint8, or beyond the first; cut, not rounded, to whole numbers as in Pillow."""
    values = cv2.addWeighted(image, factor, other, 1 - factor, 0, dtype=cv2.CV_32F)
    return np.clip(values, 0, 255, out=values).astype(np.uint8).reshape(image.shape)


def rotate(image: np.ndarray, degrees: float, fill: Color) -> np.ndarray:
    """Clockwise around the centre."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=fill)


def shear_x(image: np.ndarray, slope: float, fill: Color) -> np.ndarray:
    return slid(image, slope * np.arange(image.shape[0]), fill)


def shear_y(image: np.ndarray, slope: float, fill: Color) -> np.ndarray:
    return cv2.transpose(shear_x(cv2.transpose(image), slope, fill))


def translate_x(image: np.ndarray, share: float, fill: Color) -> np.ndarray:
    """To the right by a share of the width."""
    return slid(image, np.full(image.shape[0], share * image.shape[1]), fill)


def translate_y(image: np.ndarray, share: float, fill: Color) -> np.ndarray:
    """Down by a share of the height."""
    return cv2.transpose(translate_x(cv2.transpose(image), share, fill))


def slid(image: np.ndarray, offsets: np.ndarray, fill: Color) -> np.ndarray:
    """Each row moved to the right by its offset in pixels, (H,).

    As ``cv2.warpAffine`` does it with INTER_CUBIC, within one grey level: that takes sixteen neighbours for
    each pixel, of which twelve have no weight where pixels move along one axis. OpenCV 4 also rounds places
    to 1/32 of a pixel, which neither this nor Pillow does.
    """
    height, width, channels = image.shape
    starts = np.floor(-offsets).astype(int)  # where the first pixel of a row comes from
    weights = torch.from_numpy(cubic_weights(-offsets - starts))
    margin = int(np.abs(starts).max()) + 2
    padded = cv2.copyMakeBorder(image, 0, 0, margin, margin, cv2.BORDER_CONSTANT, value=fill)
    # A row and a pixel of its neighbours before and two behind, from where it comes.
    windows = sliding_window_view(padded.reshape(height, -1), (width + 3) * channels, axis=1)
    windows = windows[np.arange(height), (starts + margin - 1) * channels]
    taps = torch.from_numpy(windows.astype(np.float32)).unfold(1, width * channels, channels)
    total = taps[:, 0] * weights[:, :1]
    for tap in range(1, 4):
        total.addcmul_(taps[:, tap], weights[:, tap : tap + 1])
    return cv2.add(total.numpy(), 0, dtype=cv2.CV_8U).reshape(image.shape)  # rounds, and stays in 0 to 255


def cubic_weights(past: np.ndarray) -> np.ndarray:
    """Return the weights of the pixels at -1, 0, 1 and 2 for places in 0 to 1, (H,) -> (H, 4).

    Keys 1981, "Cubic convolution interpolation for digital image processing", with OpenCV's a = -0.75.
    """
    a, x = -0.75, np.abs(past[:, None] - np.array([-1, 0, 1, 2]))
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, far).astype(np.float32)
