"""Run lengths of upsampled logits, made only where masks have their borders."""

# N masks  h,w logits  H,W pixels
# Keys number the pixels of a batch, columns first, as in run_lengths.py. What cells cover of each
# column is an interval of keys: its first pixel and the first one after it are changes, and where
# one interval ends at which another begins there is none.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from .cell_grid import SLACK, Axis, CellGrid, PixelBlock
from .run_lengths import RunLengths, runs_from_changes

_DOUBT = 4e-7  # of the largest neighbour: within this, the order of sums decides
_CROWDED = 0.08  # of a mask's cells; if borders are in more, making all pixels is faster


@dataclass(frozen=True, slots=True, eq=False)
class CellRuns:
    """Run lengths of masks; undecided ones look empty, and whoever asks has to make their pixels.

    Of those a logit lies so near the threshold that only torch tells, or they are rough all over.
    """

    runs: RunLengths
    is_undecided_N: Tensor


def cell_run_lengths(
    logits_Nhw: Tensor,
    size_hw: tuple[int, int],
    threshold: float,
    margins: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> CellRuns:
    """Run lengths of masks interpolated to a size, with margins left, right, above and below."""
    grid, count = CellGrid.of(logits_Nhw, size_hw), len(logits_Nhw)
    frame = _Frame.of(size_hw, margins)
    is_over = grid.least > threshold + SLACK
    is_open = ~(is_over | (grid.most <= threshold - SLACK))
    is_undecided = is_open.float().mean((1, 2)) > _CROWDED
    changes = [*_around_full_cells(is_over, grid.down, grid.across)]
    for block in grid.pixels_of(is_open & ~is_undecided[:, None, None]):
        is_undecided[block.mask_K[_has_doubt(block, threshold)]] = True
        changes.append(_inside(block, threshold))
    keys = torch.cat([found.keys(frame) for found in changes])
    keys = _unpaired(keys[~is_undecided[keys // frame.area]])
    return CellRuns(runs_from_changes(keys, count, frame.height, frame.width), is_undecided)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where pixels lie in the whole picture."""

    height: int
    width: int
    above: int
    left: int

    @classmethod
    def of(cls, size_hw: tuple[int, int], margins: tuple[int, int, int, int]) -> _Frame:
        left, right, above, below = margins
        return cls(size_hw[0] + above + below, size_hw[1] + left + right, above, left)

    @property
    def area(self) -> int:
        return self.height * self.width


@dataclass(frozen=True, slots=True, eq=False)
class _Changes:
    """Places at which an interval begins or has ended."""

    mask: Tensor
    x: Tensor
    y: Tensor

    def keys(self, frame: _Frame) -> Tensor:
        """As keys; the end of the last pixel of all is not one of this mask."""
        place = (self.x + frame.left) * frame.height + self.y + frame.above
        return (self.mask * frame.area + place)[place < frame.area]


def _around_full_cells(is_over_Nhw: Tensor, down: Axis, across: Axis) -> Iterator[_Changes]:
    """Above and below cells that are covered wholly, but not between two of them."""
    rows = (down.count > 0).nonzero()[:, 0]
    covered = pad(is_over_Nhw[:, rows].byte(), (0, 0, 1, 1)).bool()
    within = covered[:, 1:-1]
    for is_edge, line in (
        (within & ~covered[:, :-2], down.first[rows]),
        (within & ~covered[:, 2:], (down.first + down.count)[rows]),
    ):
        mask, row, column = is_edge.nonzero().unbind(1)
        widths = across.count[column]
        x = _counted_on(across.first[column], widths)
        yield _Changes(mask.repeat_interleave(widths), x, line[row].repeat_interleave(widths))


def _counted_on(first: Tensor, counts: Tensor) -> Tensor:
    """first, first + 1, ... of each, so many as its count says."""
    starts = counts.cumsum(0) - counts
    steps = torch.arange(int(counts.sum()), device=counts.device)
    return (first - starts).repeat_interleave(counts) + steps


def _inside(block: PixelBlock, threshold: float) -> _Changes:
    """In cells that are covered in part."""
    is_covered = pad((block.logits_KAB > threshold).byte(), (0, 0, 1, 1))
    cell, step, column = (is_covered[:, 1:] != is_covered[:, :-1]).nonzero().unbind(1)
    return _Changes(block.mask_K[cell], block.x_KB[cell, column], block.y_KA[cell, 0] + step)


def _has_doubt(block: PixelBlock, threshold: float) -> Tensor:
    near = _DOUBT * (block.corners_4K.abs().amax(0) + abs(threshold))
    # What is no number is near nothing, and doubted.
    return ~((block.logits_KAB - threshold).abs() > near[:, None, None]).flatten(1).all(1)


def _unpaired(keys: Tensor) -> Tensor:
    """Keys that are there once: at others one interval ends and the next begins."""
    found, times = keys.sort().values.unique_consecutive(return_counts=True)
    return found[times == 1]
