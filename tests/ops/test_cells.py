"""Measures that skip what is decided already, against interpolating everything."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from ops import cell_grid, cells
from ops.boxes import spans_to_boxes
from ops.cell_grid import PixelBlock
from ops.cells import measure_cells

ROUNDING = 1e-5
sides = st.integers(1, 90)


def _smooth(count: int, height: int, width: int, seed: int) -> Tensor:
    """Logits as models give them: large areas on one side, a border between."""
    noise = torch.randn(count, 1, height + 6, width + 6, generator=torch.manual_seed(seed))
    return avg_pool2d(noise, 7, 1)[:, 0] * 40


def _plain(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _require_equal(
    logits: Tensor, size: tuple[int, int], threshold: float, offset: float
) -> cells.CellMeasures:
    """Equal but for pixels that lie on a threshold, where the order of sums decides."""
    found, full = measure_cells(logits, size, threshold, offset), _plain(logits, size)
    for area, limit in (
        (found.area_above_N, threshold + offset),
        (found.area_below_N, threshold - offset),
    ):
        on_it = ((full - limit).abs() < ROUNDING).sum((1, 2))
        assert bool(((area - (full > limit).sum((1, 2))).abs() <= on_it).all())
    for lines, dim in ((found.columns_NW, 1), (found.rows_NH, 2)):
        surely = (full > threshold + ROUNDING).any(dim)
        perhaps = (full > threshold - ROUNDING).any(dim)
        assert not bool((surely & ~lines).any())
        assert not bool((lines & ~perhaps).any())
    return found


@given(sides, sides, st.integers(1, 40), st.integers(1, 40), st.integers(0, 9), st.booleans())
def test_measures_are_those_of_all_pixels(height, width, low_height, low_width, seed, is_rough):
    logits = _smooth(3, low_height, low_width, seed)
    if is_rough:
        logits = torch.randn(logits.shape, generator=torch.manual_seed(seed)) * 3
    _require_equal(logits, (height, width), 0.0, 1.0)


@pytest.mark.parametrize(("threshold", "offset"), [(0.5, 0.25), (-1.0, 0.0), (0.0, -1.0)])
def test_so_they_are_at_other_thresholds(threshold, offset):
    _require_equal(_smooth(4, 20, 24, 1), (170, 333), threshold, offset)


@pytest.mark.parametrize("logit", [-9.0, 9.0, 0.0, 1.0, -1.0])
def test_logits_that_are_all_alike_are_measured_too(logit):
    """Also those that lie on a threshold."""
    _require_equal(torch.full((2, 8, 8), logit), (64, 96), 0.0, 1.0)


def test_what_is_no_number_is_over_nothing():
    logits = _smooth(2, 12, 12, 3)
    logits[0, 4:6, 3:8] = torch.nan
    found = _require_equal(logits, (96, 120), 0.0, 1.0)
    assert 0 < int(found.area_above_N[0]) < 96 * 120


def test_no_masks_have_no_measures():
    found = measure_cells(torch.zeros(0, 16, 12), (64, 48), 0.0, 1.0)
    assert found.area_above_N.shape == (0,)
    assert spans_to_boxes(found.columns_NW, found.rows_NH).shape == (0, 4)


def test_few_pixels_are_made(monkeypatch):
    made: list[int] = []
    looked = cells._look

    def counting(block: PixelBlock, *others: object) -> None:
        made.append(len(block.mask_K))
        looked(block, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(cells, "_look", counting)
    disc = torch.hypot(*torch.meshgrid(*[torch.arange(64.0) - 32] * 2, indexing="ij"))
    _require_equal((16 - disc)[None] * 4, (1024, 1024), 0.0, 1.0)
    assert sum(made) < 0.1 * 64 * 64


@pytest.mark.parametrize("pixels", [1, 500, 1 << 30])
def test_how_many_are_made_at_once_makes_no_difference(monkeypatch, pixels):
    monkeypatch.setattr(cell_grid, "_PIXELS_AT_ONCE", pixels)
    _require_equal(pad(_smooth(2, 10, 10, 4), (3, 3, 3, 3), value=-5.0), (128, 99), 0.0, 1.0)
