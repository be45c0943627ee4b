"""Measures of upsampled logits that look only at the cells in which anything is decided.

Between four neighbouring logits an interpolated one is none beyond them: where all four lie above
what is asked for, all pixels between them do, and they are counted without being made.
"""

# N masks  h,w logits  H,W pixels  K cells, each the pixels between four logits

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

_SLACK = 1e-4  # rounding may take an interpolated logit this far beyond its neighbours
_PIXELS_AT_ONCE = 1 << 18  # a mebibyte of floats stays in a core's cache


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
    logits = logits_Nhw.float()
    down, across = _Axis.of(logits.shape[1], size_hw[0]), _Axis.of(logits.shape[2], size_hw[1])
    corners = pad(logits[:, None], (0, 1, 0, 1), mode="replicate")[:, 0]
    least, most = _extremes(corners)
    low, high = sorted((threshold - offset, threshold + offset))
    is_over = least > high + _SLACK
    # What is no number is neither over nor under, and looked at.
    is_open = ~(is_over | (most <= low - _SLACK))
    pixels = down.count[:, None] * across.count
    covered = (is_over * pixels).sum((1, 2))
    found = CellMeasures(
        covered,
        covered.clone(),
        (is_over & (down.count > 0)[:, None]).any(1)[:, across.place],
        (is_over & (across.count > 0)).any(2)[:, down.place],
    )
    for rows, columns, cells in _open_cells(is_open, down, across):
        _look(corners, cells, down.some(rows), across.some(columns), threshold, offset, found)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Pixels:
    """Where the pixels of places lie that have equally many."""

    first: Tensor  # [h] of each place
    steps: Tensor  # [pixels of a place]
    weight: Tensor  # [H] of the logit behind, for each pixel


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """Which pixels lie between a logit and the next one, and how far."""

    place: Tensor  # [H] the logit before each pixel
    weight: Tensor  # [H] of the logit behind it
    first: Tensor  # [h] the first pixel behind each logit
    count: Tensor  # [h] how many there are

    @classmethod
    def of(cls, logits: int, pixels: int) -> _Axis:
        """As torch interpolates without aligned corners."""
        middle = (torch.arange(pixels, dtype=torch.float32) + 0.5) * (logits / pixels) - 0.5
        middle = middle.clamp(min=0)
        place = middle.long().clamp(max=logits - 1)
        count = torch.bincount(place, minlength=logits)
        return cls(place, (middle - place).clamp(0, 1), count.cumsum(0) - count, count)

    def some(self, count: int) -> _Pixels:
        """The pixels of places that have so many."""
        return _Pixels(self.first, torch.arange(count), self.weight)


def _extremes(corners: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest of each four neighbours."""
    above, below = corners[:, :-1], corners[:, 1:]
    least, most = torch.minimum(above, below), torch.maximum(above, below)
    return (
        torch.minimum(least[..., :-1], least[..., 1:]),
        torch.maximum(most[..., :-1], most[..., 1:]),
    )


def _open_cells(is_open: Tensor, down: _Axis, across: _Axis) -> Iterator[tuple[int, int, Tensor]]:
    """Cells [K, 3] of mask, row and column, by the height and width in pixels that they share."""
    cells = is_open.nonzero()
    heights, widths = down.count[cells[:, 1]], across.count[cells[:, 2]]
    for height in heights.unique().tolist():
        for width in widths.unique().tolist():
            alike = cells[(heights == height) & (widths == width)]
            if height * width:
                step = max(1, _PIXELS_AT_ONCE // (height * width))
                yield from ((height, width, some) for some in alike.split(step))


def _look(
    corners: Tensor,
    cells: Tensor,
    down: _Pixels,
    across: _Pixels,
    threshold: float,
    offset: float,
    found: CellMeasures,
) -> None:
    """Interpolate within cells, and add what is there to what was found."""
    mask, row, column = cells.unbind(1)
    y = down.first[row][:, None] + down.steps
    x = across.first[column][:, None] + across.steps
    after_y, after_x = down.weight[y][:, :, None], across.weight[x]
    above = _between(corners[mask, row, column], corners[mask, row, column + 1], after_x)
    below = _between(corners[mask, row + 1, column], corners[mask, row + 1, column + 1], after_x)
    logits = above[:, None] * (1 - after_y) + below[:, None] * after_y
    ones = torch.empty_like(logits)
    for area, limit in (
        (found.area_above_N, threshold + offset),
        (found.area_below_N, threshold - offset),
    ):
        area.index_add_(0, mask, torch.gt(logits, limit, out=ones).sum((1, 2)).long())
    _mark(found.rows_NH, mask, y, logits.amax(2) > threshold)
    _mark(found.columns_NW, mask, x, logits.amax(1) > threshold)


def _between(before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
    return before[:, None] * (1 - weight) + after[:, None] * weight


def _mark(lines: Tensor, mask: Tensor, line: Tensor, is_marked: Tensor) -> None:
    places = (mask[:, None] * lines.shape[1] + line)[is_marked]
    lines.view(-1)[places] = True
