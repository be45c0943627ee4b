"""The cells between four neighbouring logits, in which interpolation leaves nothing to look for.

An interpolated logit is none beyond its four neighbours: where all four lie above what is asked
for, all pixels between them do.
"""

# N masks  h,w logits  H,W pixels  K cells of A,B pixels, down and across, between four logits

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

SLACK = 1e-4  # rounding may take an interpolated logit this far beyond its neighbours
_PIXELS_AT_ONCE = 1 << 18  # a mebibyte of floats stays in a core's cache


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Which pixels lie between a logit and the next one, and how far."""

    place: Tensor  # [H] the logit before each pixel
    weight: Tensor  # [H] of the logit behind it
    first: Tensor  # [h] the first pixel behind each logit
    count: Tensor  # [h] how many there are

    @classmethod
    def of(cls, logits: int, pixels: int) -> Axis:
        """As torch interpolates without aligned corners."""
        place, weight = _asked(logits, pixels)
        count = torch.bincount(place, minlength=logits)
        return cls(place, weight, count.cumsum(0) - count, count)


@lru_cache(maxsize=64)
def _asked(logits: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Torch's own places and weights, to the last bit: how it rounds depends on how it was built.

    It is asked for each third logit alone: of three in a row it takes the middle one, and one of
    its neighbours.
    """
    # They outlive whatever device somebody has made the default just now.
    numbers = torch.arange(max(3, logits, pixels), device="cpu")
    middle = (numbers[:pixels].double() + 0.5) * (logits / pixels) - 0.5
    near = middle.clamp(min=0).long().clamp(max=logits - 1)
    thirds = (numbers[:logits] % 3 == numbers[:3, None]).float()
    shares = interpolate(thirds[:, None, :, None], (pixels, 1), mode="bilinear")[:, 0, :, 0]
    of_next, of_last = (shares.gather(0, ((near + n) % 3)[None])[0] for n in (1, 2))
    # A place that is off by one is so where one logit has next to all of the weight.
    is_before = (of_last > 0) & (of_next < 0.5)
    is_behind = (of_last > 0) & (of_next >= 0.5)
    place = near - is_before.long() + is_behind.long()
    return place, shares.gather(0, ((place + 1) % 3)[None])[0]


@dataclass(frozen=True, slots=True, eq=False)
class PixelBlock:
    """All pixels of some cells that have equally many."""

    mask_K: Tensor
    y_KA: Tensor
    x_KB: Tensor
    logits_KAB: Tensor
    corners_4K: Tensor  # what they lie between


@dataclass(frozen=True, slots=True, eq=False)
class CellGrid:
    """Masks as cells; it takes ten times the memory of their logits."""

    corners: Tensor  # [N, h + 1, w + 1], the last row and column twice
    down: Axis
    across: Axis
    least: Tensor  # [N, h, w] of each four neighbours
    most: Tensor

    @classmethod
    def of(cls, logits_Nhw: Tensor, size_hw: tuple[int, int]) -> CellGrid:
        """The cells of masks that are to have a size."""
        logits = logits_Nhw.detach().float()  # nothing is learned from counts
        corners = pad(logits[:, None], (0, 1, 0, 1), mode="replicate")[:, 0]
        down = Axis.of(logits_Nhw.shape[1], size_hw[0])
        across = Axis.of(logits_Nhw.shape[2], size_hw[1])
        above, below = corners[:, :-1], corners[:, 1:]
        least, most = torch.minimum(above, below), torch.maximum(above, below)
        return cls(
            corners,
            down,
            across,
            torch.minimum(least[..., :-1], least[..., 1:]),
            torch.maximum(most[..., :-1], most[..., 1:]),
        )

    def pixels_of(self, is_wanted_Nhw: Tensor) -> Iterator[PixelBlock]:
        """The pixels of cells, some cells at a time; those of no pixels are passed over."""
        cells = is_wanted_Nhw.nonzero()
        heights, widths = self.down.count[cells[:, 1]], self.across.count[cells[:, 2]]
        for height in heights.unique().tolist():
            for width in widths.unique().tolist():
                if height * width:
                    alike = cells[(heights == height) & (widths == width)]
                    step = max(1, _PIXELS_AT_ONCE // (height * width))
                    yield from (self._made(some, height, width) for some in alike.split(step))

    def _made(self, cells_K3: Tensor, height: int, width: int) -> PixelBlock:
        """Interpolated as torch does it: across, then down."""
        mask, row, column = cells_K3.unbind(1)
        y = self.down.first[row][:, None] + torch.arange(height, device=row.device)
        x = self.across.first[column][:, None] + torch.arange(width, device=row.device)
        after_y, after_x = self.down.weight[y][:, :, None], self.across.weight[x]
        corners = torch.stack(
            [
                self.corners[mask, row, column],
                self.corners[mask, row, column + 1],
                self.corners[mask, row + 1, column],
                self.corners[mask, row + 1, column + 1],
            ]
        )
        above = _between(corners[0], corners[1], after_x)
        below = _between(corners[2], corners[3], after_x)
        logits = above[:, None] * (1 - after_y) + below[:, None] * after_y
        return PixelBlock(mask, y, x, logits, corners)


def _between(before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
    return before[:, None] * (1 - weight) + after[:, None] * weight
