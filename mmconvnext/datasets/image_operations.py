"""The operations of RandAugment for one image, computed with integers and tables.

Images are (H, W, 3) uint8, BGR and contiguous; each function returns a new image. Results equal those of
mmpretrain 1.2 with OpenCV 5 (except for rounding in ``slid``). They differ from timm's, which uses Pillow,
like mmpretrain's: in the rounding of colors; in the outermost pixels, which Pillow does not sharpen; in the
cubic kernel (a = -0.75 in OpenCV, -1 in Pillow); and in shear, which starts at the center of the first pixel
instead of its corner, at most 0.15 pixels apart.
"""

import cv2
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

SMOOTHING = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # Pillow's ImageFilter.SMOOTH
Color = tuple[int, int, int]  # BGR
GREYS = np.arange(256, dtype=np.uint8)


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Stretch each channel to the range 0 to 255."""
    return cv2.merge([cv2.LUT(channel, stretching(channel)) for channel in cv2.split(image)])


def stretching(channel: np.ndarray) -> np.ndarray:
    low, high, _, _ = cv2.minMaxLoc(channel)
    if low == high:
        return GREYS
    scale = 255 / (high - low)
    return np.clip(GREYS * scale - low * scale, 0, 255).astype(np.uint8)


def equalize(image: np.ndarray) -> np.ndarray:
    """Equalize the histogram of each channel."""
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
    """Keep the given number (0 to 8) of the highest bits of each value."""
    return image & np.uint8(256 - (1 << (8 - bits)))


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Invert values from the threshold on."""
    return cv2.LUT(image, np.where(threshold <= GREYS, 255 - GREYS, GREYS))


def solarize_add(image: np.ndarray, added: int) -> np.ndarray:
    """Add to the values below 128, up to 255."""
    raised = np.minimum(np.arange(256) + added, 255).astype(np.uint8)
    return cv2.LUT(image, np.where(GREYS < 128, raised, GREYS))


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Change the saturation: factor 0 gives a gray image, 1 the original."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Change the contrast: factor 0 gives the mean gray everywhere, 1 the original."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    mean = round(cv2.sumElems(grey)[0] / grey.size)
    return cv2.LUT(image, blended(GREYS, np.full_like(GREYS, mean), factor))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Change the brightness: factor 0 gives black, 1 the original."""
    return cv2.LUT(image, blended(GREYS, np.zeros_like(GREYS), factor))


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Change the sharpness: factor 0 gives a smoothed image, 1 the original, 2 a sharpened one."""
    return blended(image, cv2.filter2D(image, -1, SMOOTHING), factor)


def blended(image: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    """Interpolate or extrapolate two uint8 arrays; truncated, not rounded, as in Pillow."""
    values = cv2.addWeighted(image, factor, other, 1 - factor, 0, dtype=cv2.CV_32F)
    return np.clip(values, 0, 255, out=values).astype(np.uint8).reshape(image.shape)


def rotate(image: np.ndarray, degrees: float, fill: Color) -> np.ndarray:
    """Rotate clockwise around the center."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=fill)


def shear_x(image: np.ndarray, slope: float, fill: Color) -> np.ndarray:
    return slid(image, slope * np.arange(image.shape[0]), fill)


def shear_y(image: np.ndarray, slope: float, fill: Color) -> np.ndarray:
    return cv2.transpose(shear_x(cv2.transpose(image), slope, fill))


def translate_x(image: np.ndarray, share: float, fill: Color) -> np.ndarray:
    """Move the image to the right by a fraction of its width."""
    return slid(image, np.full(image.shape[0], share * image.shape[1]), fill)


def translate_y(image: np.ndarray, share: float, fill: Color) -> np.ndarray:
    """Move the image down by a fraction of its height."""
    return cv2.transpose(translate_x(cv2.transpose(image), share, fill))


def slid(image: np.ndarray, offsets: np.ndarray, fill: Color) -> np.ndarray:
    """Move each row to the right by its offset (H,) in pixels.

    Equals ``cv2.warpAffine`` with INTER_CUBIC within one gray level, but uses only four instead of sixteen
    neighbors per pixel, because pixels move along one axis. OpenCV 4 also rounds coordinates to 1/32 of a
    pixel, which neither this function nor Pillow does.
    """
    height, width, channels = image.shape
    starts = np.floor(-offsets).astype(int)  # source of the first pixel of a row
    weights = torch.from_numpy(cubic_weights(-offsets - starts))
    margin = int(np.abs(starts).max()) + 2
    padded = cv2.copyMakeBorder(image, 0, 0, margin, margin, cv2.BORDER_CONSTANT, value=fill)
    # Each row from one pixel before its source to two pixels after it.
    windows = sliding_window_view(padded.reshape(height, -1), (width + 3) * channels, axis=1)
    windows = windows[np.arange(height), (starts + margin - 1) * channels]
    taps = torch.from_numpy(windows.astype(np.float32)).unfold(1, width * channels, channels)
    total = taps[:, 0] * weights[:, :1]
    for tap in range(1, 4):
        total.addcmul_(taps[:, tap], weights[:, tap : tap + 1])
    return cv2.add(total.numpy(), 0, dtype=cv2.CV_8U).reshape(image.shape)  # rounds, and stays in 0 to 255


def cubic_weights(past: np.ndarray) -> np.ndarray:
    """Return the weights (H, 4) of the pixels at -1, 0, 1 and 2 for positions (H,) from 0 to 1.

    Keys 1981, "Cubic convolution interpolation for digital image processing", with OpenCV's a = -0.75.
    """
    a, x = -0.75, np.abs(past[:, None] - np.array([-1, 0, 1, 2]))
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, far).astype(np.float32)
