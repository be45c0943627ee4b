"""Cutting feature maps into windows and cells, and putting them back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def partition_windows(x_BHWC: Tensor, size: int, filler_C: Tensor) -> Tensor:
    """Cut into windows [B * windows, size, size, C]; a filler completes those at the borders.

    What fills them up are ordinary tokens: released weights were trained with them unmasked.
    """
    height, width = x_BHWC.shape[1:3]
    down, right = -height % size, -width % size
    if down or right:
        x_BHWC = _fill_up(x_BHWC, down, right, filler_C.to(x_BHWC.dtype))
    batch, height, width, channels = x_BHWC.shape
    cells = x_BHWC.view(batch, height // size, size, width // size, size, channels)
    return cells.transpose(2, 3).reshape(-1, size, size, channels)


def _fill_up(x_BHWC: Tensor, down: int, right: int, filler_C: Tensor) -> Tensor:
    batch, height, width, channels = x_BHWC.shape
    filled = filler_C.expand(batch, height + down, width + right, channels).clone()
    filled[:, :height, :width] = x_BHWC
    return filled


def merge_windows(windows: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Undo partition_windows for a map of height x width: [B, H, W, C]."""
    size, channels = windows.shape[1], windows.shape[3]
    rows, columns = -(-height // size), -(-width // size)
    cells = windows.view(batch, rows, columns, size, size, channels)
    whole = cells.transpose(2, 3).reshape(batch, rows * size, columns * size, channels)
    return whole[:, :height, :width]


def pool_pairs(x_BHWC: Tensor) -> Tensor:
    """Maximum of every 2 x 2 cell: [B, H/2, W/2, C]."""
    if torch.is_grad_enabled():  # a gradient through maximum takes six times as long
        return F.max_pool2d(x_BHWC.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    batch, height, width, channels = x_BHWC.shape
    cells = x_BHWC.reshape(batch, height // 2, 2, width // 2, 2, channels)
    # Not amax over both: that takes five times as long on a CPU.
    rows = torch.maximum(cells[:, :, 0], cells[:, :, 1])
    return torch.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def nest(x_BHWC: Tensor, depth: int) -> Tensor:
    """Order pixels by coarse cell, then by 2 x 2 quadrant, `depth` times: [B, P, 4, ..., 4, C].

    Transposed convolutions with kernel and stride 2 touch no neighbour, so in this order they are
    plain matrix products, and only the final one-channel masks must be put back in rows.
    """
    batch, height, width, channels = x_BHWC.shape
    side = 2**depth
    grid = x_BHWC.reshape(
        batch, height // side, *[2] * depth, width // side, *[2] * depth, channels
    )
    ys = range(1, 2 + depth)
    xs = range(2 + depth, 3 + 2 * depth)
    order = [axis for pair in zip(ys, xs, strict=True) for axis in pair]
    grid = grid.permute(0, *order, 3 + 2 * depth)
    return grid.reshape(batch, -1, *[4] * depth, channels)


def unnest(x_NQM: Tensor, coarse_height: int, coarse_width: int, depth: int) -> Tensor:
    """Put pixels in nested order, [N, P * 4**depth, M], back in rows: [N, M, H, W]."""
    batch, _, channels = x_NQM.shape
    side = 2**depth
    grid = x_NQM.reshape(batch, coarse_height, coarse_width, *[2, 2] * depth, channels)
    ys = [1, *range(3, 3 + 2 * depth, 2)]
    xs = [2, *range(4, 4 + 2 * depth, 2)]
    grid = grid.permute(0, 3 + 2 * depth, *ys, *xs)
    return grid.reshape(batch, channels, coarse_height * side, coarse_width * side)
