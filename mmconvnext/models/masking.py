"""The visible patches of masked images, and their places in the images.

Masked pre-training removes patches of a grid from each image, the same number from all images of a batch.
What is left is a regular tensor: the visible patches of an image, one below the other, form a narrow image
(N, C, K * size, size). Stem, downsampling, norms, MLPs and GRN compute on it what they compute on a whole
image, but on visible positions only, since the network's strides divide the patches. Only depthwise
convolutions look beyond a patch; for them the patches go back to their places, with zeros in between.
"""

import torch
from torch import Tensor

from ..errors import UserError


class VisiblePatches:
    """Numbers of the visible patches of each image.

    Args:
        masked: (N, rows, columns) bool, True for removed patches; as many in each image.

    Attributes:
        masked: the mask itself.
        numbers: (N, K), the visible patches of each image in ascending order, counted row by row.
        grid: rows and columns of patches.

    Raises:
        UserError: no patch is visible, or images have different numbers of them.
    """

    def __init__(self, masked: Tensor):
        self.masked, self.grid = masked, tuple(masked.shape[1:])
        visible = ~masked.flatten(1)
        counts = visible.sum(1)
        if not counts.min() or counts.min() != counts.max():
            raise UserError(
                f'the masks leave {counts.min()} to {counts.max()} visible patches in an image; all '
                'images of a batch need the same number, at least 1'
            )
        self.numbers = visible.nonzero()[:, 1].view(len(masked), -1)
        self._rows = {}

    def to(self, device: torch.device) -> 'VisiblePatches':
        """Move to the device of the images; checks are done where nothing has to wait for a GPU."""
        self.masked = self.masked.to(device, non_blocking=True)
        self.numbers = self.numbers.to(device, non_blocking=True)
        self._rows.clear()
        return self

    @property
    def is_everything(self) -> bool:
        """Whether no patch is removed."""
        return self.numbers.shape[1] == self.grid[0] * self.grid[1]

    def check_image(self, height: int, width: int, stride: int) -> None:
        """Raise UserError unless the grid divides an image into squares that a stride divides."""
        rows, columns = self.grid
        size = height // rows
        if (rows * size, columns * size) != (height, width) or size % stride:
            raise UserError(
                f'{rows} x {columns} patches do not fit an image of {height} x {width} pixels and a network '
                f'of stride {stride}: they need to be squares whose side is a multiple of {stride}'
            )

    def gather(self, x: Tensor) -> Tensor:
        """Return the visible patches of maps: (N, C, H, W) -> (N, C, K * size, size)."""
        size = x.shape[3] // self.grid[1]
        rows = Gather.apply(pixel_rows(x, size), self.rows(size))
        return rows.view(len(x), -1, size, x.shape[1]).movedim(-1, 1)

    def scatter(self, patches: Tensor) -> Tensor:
        """Put patches back at their places, with zeros elsewhere: (N, C, K * size, size) -> (N, C, H, W)."""
        size = patches.shape[3]
        height, width = (side * size for side in self.grid)
        count = len(patches) * height * self.grid[1]
        rows = Scatter.apply(pixel_rows(patches, size), self.rows(size), count)
        return rows.view(len(patches), height, width, patches.shape[1]).movedim(-1, 1)

    def fill(self, patches: Tensor, token: Tensor) -> Tensor:
        """Put patches (N, C, K * size, size) back, with a token (1, C, 1, 1) elsewhere: (N, C, H, W)."""
        x, size = self.scatter(patches), patches.shape[3]
        masked = self.masked[:, None].repeat_interleave(size, 2).repeat_interleave(size, 3)
        return torch.where(masked, token.to(x.dtype), x)

    def rows(self, size: int) -> Tensor:
        """Number the visible rows of pixels, each ``size`` pixels long, in maps with patches of this size.

        A map (N, H, W, C) in memory is a table (N * H * columns, size * C) of such rows.
        """
        if size in self._rows:
            return self._rows[size]
        rows, columns = self.grid
        first = torch.arange(len(self.numbers), device=self.numbers.device)[:, None] * rows
        top = (first + self.numbers // columns) * size  # line of pixels in the batch, (N, K)
        lines = top[:, :, None] + torch.arange(size, device=top.device)
        self._rows[size] = (lines * columns + (self.numbers % columns)[:, :, None]).flatten()
        return self._rows[size]


def pixel_rows(x: Tensor, size: int) -> Tensor:
    """Return maps (N, C, H, W) as rows of ``size`` pixels, (N * H * W / size, size * C)."""
    return x.movedim(1, -1).reshape(-1, size * x.shape[1])


# Each row has one place, so the gradient of one is the other: neither has to add up, as torch's gradients of
# indexing do.
class Gather(torch.autograd.Function):
    """Rows (total, ...) with these numbers, (count, ...)."""

    @staticmethod
    def forward(ctx, table: Tensor, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(numbers)
        ctx.total = len(table)
        return table.index_select(0, numbers)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return Scatter.apply(gradient, *ctx.saved_tensors, ctx.total), None


class Scatter(torch.autograd.Function):
    """Zeros (total, ...) with rows (count, ...) at their places."""

    @staticmethod
    def forward(ctx, rows: Tensor, numbers: Tensor, total: int) -> Tensor:
        ctx.save_for_backward(numbers)
        return rows.new_zeros(total, rows.shape[1]).index_copy_(0, numbers, rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return Gather.apply(gradient, *ctx.saved_tensors), None, None
