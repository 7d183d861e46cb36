"""Write TIFF files with any number of channels, which Pillow and OpenCV cannot."""

import struct

import numpy as np


def tiff(pixels: np.ndarray, photometric: int) -> bytes:
    """Encode an image (H, W, C) of uint8 without compression.

    Args:
        pixels: image with three or more channels.
        photometric: 1 for gray, 2 for RGB; other channels are extra samples of an unspecified kind.
    """
    height, width, channels = pixels.shape
    extra = channels - (3 if photometric == 2 else 1)
    fields = {
        256: ('I', [width]),
        257: ('I', [height]),
        258: ('H', [8] * channels),
        259: ('H', [1]),  # no compression
        262: ('H', [photometric]),
        273: ('I', [0]),  # offset of the pixels, see below
        277: ('H', [channels]),
        278: ('I', [height]),
        279: ('I', [pixels.nbytes]),
        284: ('H', [1]),  # channels are interleaved
        338: ('H', [0] * extra),
    }
    start = 8 + 2 + 12 * len(fields) + 4
    entries, behind = b'', pixels.tobytes()
    for tag, (kind, numbers) in fields.items():
        numbers = [start] if tag == 273 else numbers
        content = struct.pack(f'<{len(numbers)}{kind}', *numbers)
        if len(content) > 4:
            place, behind = start + len(behind), behind + content
            content = struct.pack('<I', place)
        entries += struct.pack('<HHI', tag, dict(H=3, I=4)[kind], len(numbers)) + content.ljust(4, b'\0')
    return b'II*\0' + struct.pack('<IH', 8, len(fields)) + entries + bytes(4) + behind
