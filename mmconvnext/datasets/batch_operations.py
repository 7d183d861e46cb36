"""The operations of RandAugment for batches, on the device of the batch.

These functions correspond to those of the same names in ``image_operations``. Images are (N, 3, H, W) uint8
in BGR, arguments are (N,) float64; each function returns new images. No function waits for the device.

Operations that do not move pixels give bitwise the same results, on any processor with fused multiply-add.
Those that move pixels round coordinates to single precision, so a few values differ by one gray level.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .drawn import sent

Color = tuple[int, int, int]  # BGR
# Weights of OpenCV's COLOR_BGR2GRAY: ITU-R BT.601 in fixed point.
GREY_WEIGHTS, GREY_BITS = (3735, 19235, 9798), 15


def auto_contrast(images: Tensor) -> Tensor:
    low, high = (end[..., None].double() for end in images.flatten(2).aminmax(dim=2))
    greys = torch.arange(256, device=images.device)
    # Infinite in a constant channel, which stays. With a scalar, torch would multiply by the reciprocal.
    scale = torch.full_like(low, 255) / (high - low)
    tables = torch.where(low == high, greys.double(), (greys * scale - low * scale).clamp(0, 255))
    return looked_up(images, tables.to(torch.uint8))


def equalize(images: Tensor) -> Tensor:
    values = images.flatten(2).long()
    counts = values.new_zeros(*values.shape[:2], 256).scatter_add_(2, values, torch.ones_like(values))
    brightest = counts.gather(2, values.amax(dim=2, keepdim=True))
    step = (values.shape[2] - brightest) // 255
    darker = counts.cumsum(2) - counts
    spread = ((darker + step // 2) // step.clamp(min=1)).clamp(max=255)
    tables = torch.where(step == 0, torch.arange(256, device=images.device), spread)
    return looked_up(images, tables.to(torch.uint8))


def looked_up(images: Tensor, tables: Tensor) -> Tensor:
    """Look up each value in the table (N, 3, 256) of its channel."""
    return tables.gather(2, images.flatten(2).long()).view_as(images)


def invert(images: Tensor) -> Tensor:
    return 255 - images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    dropped = 8 - of_images(bits).int()
    return (images.int() >> dropped << dropped).to(torch.uint8)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    return torch.where(images >= of_images(thresholds), 255 - images, images)


def solarize_add(images: Tensor, added: Tensor) -> Tensor:
    raised = (images + of_images(added).int()).clamp(max=255).to(torch.uint8)
    return torch.where(images < 128, raised, images)


def color(images: Tensor, factors: Tensor) -> Tensor:
    return weighted(images, grey(images), factors).round_().clamp_(0, 255).to(torch.uint8)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    pixels = images.shape[2] * images.shape[3]
    mean = grey(images).sum(dim=(1, 2, 3)).double().div_(pixels).round_()
    return blended(images, of_images(mean), factors)


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    return blended(images, torch.zeros_like(images), factors)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    total = 4 * images.int() + in_threes(in_threes(images.int(), 2), 3)  # 5 at the centre, 1 around it
    return blended(images, (2 * total + 13) // 26, factors)  # the nearest to total / 13


def in_threes(values: Tensor, dim: int) -> Tensor:
    """Add to each value its two neighbors along a dimension; at the ends, the inner one counts twice."""
    last = values.shape[dim] - 1
    places = torch.arange(last + 1, device=values.device)
    before, behind = (places - 1).abs().clamp_(max=last), last - (last - 1 - places).abs().clamp_(max=last)
    return values + values.index_select(dim, before) + values.index_select(dim, behind)


def of_images(argument: Tensor) -> Tensor:
    return argument.view(-1, 1, 1, 1)


def grey(images: Tensor) -> Tensor:
    """Convert images to gray (N, 1, H, W) int32."""
    blue, green, red = images.int().split(1, dim=1)
    of_blue, of_green, of_red = GREY_WEIGHTS
    total = of_blue * blue + of_green * green + of_red * red
    return (total + (1 << GREY_BITS - 1)) >> GREY_BITS


def weighted(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Blend in float32; like OpenCV's ``addWeighted`` with fused multiply-add, only the sum is rounded."""
    factors = of_images(factors)
    second = others.float() * (1 - factors).float()
    return (images * factors.float().double() + second.double()).float()


def blended(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    return weighted(images, others, factors).clamp_(0, 255).to(torch.uint8)  # truncated, not rounded


def rotate(images: Tensor, degrees: Tensor, fill: Color) -> Tensor:
    x, y = places(images)
    middle_x, middle_y = x.mean(), y.mean()
    angle = degrees.deg2rad().view(-1, 1, 1)
    x, y = x - middle_x, y - middle_y
    from_x, from_y = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
    return moved(images, from_x + middle_x, from_y + middle_y, fill)


def shear_x(images: Tensor, slopes: Tensor, fill: Color) -> Tensor:
    x, y = places(images)
    return moved(images, x - slopes.view(-1, 1, 1) * y, y, fill)


def shear_y(images: Tensor, slopes: Tensor, fill: Color) -> Tensor:
    x, y = places(images)
    return moved(images, x, y - slopes.view(-1, 1, 1) * x, fill)


def translate_x(images: Tensor, shares: Tensor, fill: Color) -> Tensor:
    x, y = places(images)
    return moved(images, x - shares.view(-1, 1, 1) * images.shape[3], y, fill)


def translate_y(images: Tensor, shares: Tensor, fill: Color) -> Tensor:
    x, y = places(images)
    return moved(images, x, y - shares.view(-1, 1, 1) * images.shape[2], fill)


def places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates x (1, 1, W) and y (1, H, 1) of the pixels."""
    height, width = images.shape[2:]
    settings = dict(device=images.device, dtype=torch.float64)
    return torch.arange(width, **settings).view(1, 1, -1), torch.arange(height, **settings).view(1, -1, 1)


def moved(images: Tensor, x: Tensor, y: Tensor, fill: Color) -> Tensor:
    """Sample each image at x and y, broadcast to (N, H, W), with OpenCV's cubic kernel."""
    count, _, height, width = images.shape
    # -1 is the left edge of the first pixel, 1 the right edge of the last.
    grid = torch.stack(
        [axis.expand(count, height, width) for axis in ((2 * x + 1) / width - 1, (2 * y + 1) / height - 1)],
        dim=3,
    ).float()
    # Pixels outside are zero and get the fill color.
    colour = sent(fill, images.device, torch.float32).view(3, 1, 1)
    sampled = F.grid_sample(images - colour, grid, mode='bicubic', align_corners=False)
    return sampled.add_(colour).round_().clamp_(0, 255).to(torch.uint8)
