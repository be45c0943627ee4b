"""Measures of upsampled logits that look only at the cells in which anything is decided."""

# N masks  h,w logits  H,W pixels

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cell_grid import SLACK, CellGrid, PixelBlock


@dataclass(frozen=True, slots=True, eq=False)
class CellMeasures:
    """Pixels over two thresholds, and which columns and rows have any over a third one."""

    area_above_N: Tensor
    area_below_N: Tensor
    columns_NW: Tensor
    rows_NH: Tensor


def measure_cells(
    logits_Nhw: Tensor, size_hw: tuple[int, int], threshold: float, offset: float
) -> CellMeasures:
    """What bilinear interpolation to a size would show, without doing it everywhere."""
    grid = CellGrid.of(logits_Nhw, size_hw)
    down, across = grid.down, grid.across
    low, high = sorted((threshold - offset, threshold + offset))
    is_over = grid.least > high + SLACK
    # What is no number is neither over nor under, and looked at.
    is_open = ~(is_over | (grid.most <= low - SLACK))
    covered = (is_over * (down.count[:, None] * across.count)).sum((1, 2))
    found = CellMeasures(
        covered,
        covered.clone(),
        (is_over & (down.count > 0)[:, None]).any(1)[:, across.place],
        (is_over & (across.count > 0)).any(2)[:, down.place],
    )
    for block in grid.pixels_of(is_open):
        _look(block, threshold, offset, found)
    return found


def _look(block: PixelBlock, threshold: float, offset: float, found: CellMeasures) -> None:
    """Add what is seen in cells to what was found."""
    mask, logits = block.mask_K, block.logits_KAB
    ones = torch.empty_like(logits)
    for area, limit in (
        (found.area_above_N, threshold + offset),
        (found.area_below_N, threshold - offset),
    ):
        area.index_add_(0, mask, torch.gt(logits, limit, out=ones).sum((1, 2)).long())
    _mark(found.rows_NH, mask, block.y_KA, logits.amax(2) > threshold)
    _mark(found.columns_NW, mask, block.x_KB, logits.amax(1) > threshold)


def _mark(lines: Tensor, mask: Tensor, line: Tensor, is_marked: Tensor) -> None:
    places = (mask[:, None] * lines.shape[1] + line)[is_marked]
    lines.view(-1)[places] = True
