"""Read .npy files, which hold images with any number of channels."""

import math
from io import BytesIO

import numpy as np

from ..errors import UserError

MAGIC = b'\x93NUMPY'
MAX_HEADER = 1000  # characters; headers of plain arrays have about a hundred
MAX_CHANNELS = 512  # limit of OpenCV, which resizes images
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# Types that OpenCV cannot resize -> types with the same values.
WIDER = {'int8': np.int16, 'float16': np.float32}
WIDE_INTEGERS = ('uint32', 'int64', 'uint64')


class ArrayError(UserError):
    """The array in a file is not an image."""


def array_of(content: bytes) -> np.ndarray:
    """Return the array (H, W) or (H, W, C) of a .npy file as a view of the content.

    Nothing in the file is run or unpickled, and the size in its header must match the content.

    Raises:
        ArrayError: the file is incomplete or not a numeric array of this shape.
    """
    file = BytesIO(content)
    try:
        shape, by_column, dtype = READERS[np.lib.format.read_magic(file)](file, max_header_size=MAX_HEADER)
    except Exception as error:  # from an invalid syntax tree, type or dict
        raise ArrayError(f'has a broken .npy header ({type(error).__name__})') from error
    if dtype.kind not in 'buif' or dtype.itemsize > 8 or dtype.shape:
        raise ArrayError(
            f'contains {str(dtype)[:100]}; expected plain numbers, such as uint8, uint16 or float32'
        )
    if len(shape) not in (2, 3) or min(shape) < 1 or shape[2:] > (MAX_CHANNELS,):
        raise ArrayError(
            f'is an array of shape {str(shape)[:100]}; expected (height, width) or (height, width, channels) '
            f'with at most {MAX_CHANNELS} channels'
        )
    start, size = file.tell(), math.prod(shape) * dtype.itemsize
    if start + size != len(content):
        raise ArrayError(
            f'has {len(content) - start:,} bytes of numbers, but should have {size:,}; copy it again'
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order='F' if by_column else 'C')


def resizable(array: np.ndarray) -> np.ndarray:
    """Return the same values in a type that OpenCV can resize.

    Raises:
        ArrayError: there is no such type, or the values are not numbers.
    """
    array = array.astype(WIDER.get(array.dtype.name, array.dtype.newbyteorder('=')))
    if array.dtype.name in WIDE_INTEGERS:
        if array.min() < -(2**31) or array.max() >= 2**31:
            raise ArrayError(
                f'has values from {array.min()} to {array.max()}; expected integers of 32 bits, or float32'
            )
        array = array.astype(np.int32)
    if array.dtype.kind == 'f' and not np.isfinite(array).all():
        raise ArrayError('has values that are infinite or NaN; replace them')
    return array
